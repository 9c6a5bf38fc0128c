#include "sha1.h"

#include <string.h>

static uint32_t left(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

static void block_portable(uint32_t state[5], const uint8_t *data)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8
            | data[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
#define ROUNDS(first, f, k)                                                       \
    for (int i = first; i < first + 20; i++) {                                    \
        uint32_t next = left(a, 5) + (f) + e + (k) + w[i];                        \
        e = d, d = c, c = left(b, 30), b = a, a = next;                           \
    }
    ROUNDS(0, d ^ (b & (c ^ d)), 0x5a827999)
    ROUNDS(20, b ^ c ^ d, 0x6ed9eba1)
    ROUNDS(40, (b & c) | (d & (b | c)), 0x8f1bbcdc)
    ROUNDS(60, b ^ c ^ d, 0xca62c1d6)
#undef ROUNDS
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* The SHA instructions do four rounds at a time, and the sums of the next words beside them. */
#define TARGET __attribute__((target("sha,sse4.1")))

/* Rounds 4 i to 4 i + 3 with `w`, which is W[4 i] to W[4 i + 3]. */
#define FOUR(w, f)                                                                \
    do {                                                                          \
        e = first ? _mm_add_epi32(e, w) : _mm_sha1nexte_epu32(e, w);              \
        first = 0;                                                                \
        __m128i before = abcd;                                                    \
        abcd = _mm_sha1rnds4_epu32(abcd, e, f);                                   \
        e = before;                                                               \
    } while (0)
/* `a` becomes the four words that follow `d`. */
#define NEXT(a, b, c, d) (a = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(a, b), c), d))

TARGET static void block_sha(uint32_t state[5], const uint8_t *data)
{
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0), abcd_before = abcd, e_before = e, w[4];
    int first = 1;
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data + i), swap);
#define TWENTY(i, f)                                                              \
    for (int j = i; j < i + 5; j++) {                                             \
        if (j >= 4)                                                               \
            NEXT(w[j & 3], w[(j + 1) & 3], w[(j + 2) & 3], w[(j + 3) & 3]);       \
        FOUR(w[j & 3], f);                                                        \
    }
    TWENTY(0, 0)
    TWENTY(5, 1)
    TWENTY(10, 2)
    TWENTY(15, 3)
#undef TWENTY
    e = _mm_sha1nexte_epu32(e, e_before);
    abcd = _mm_add_epi32(abcd, abcd_before);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

static int has_sha(void)
{
    unsigned a, b, c, d;
    int ssse3_and_sse41 = __get_cpuid(1, &a, &b, &c, &d) && (c >> 9 & 1) && (c >> 19 & 1);
    return ssse3_and_sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#else
#define block_sha block_portable

static int has_sha(void)
{
    return 0;
}
#endif

static void (*block)(uint32_t state[5], const uint8_t *data) = block_portable;

int cosx_sha1_use_instructions(int wanted)
{
    int uses = wanted && has_sha();
    block = uses ? block_sha : block_portable;
    return uses;
}

void cosx_sha1_begin(cosx_sha1 *sha1)
{
    static const uint32_t start[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(sha1->state, start, sizeof start);
    sha1->length = 0;
}

void cosx_sha1_add(cosx_sha1 *sha1, const void *data, size_t length)
{
    const uint8_t *from = data;
    size_t held = sha1->length % COSX_SHA1_BLOCK;
    sha1->length += length;
    if (held) {
        size_t taken = COSX_SHA1_BLOCK - held < length ? COSX_SHA1_BLOCK - held : length;
        memcpy(sha1->rest + held, from, taken);
        from += taken, length -= taken;
        if (held + taken < COSX_SHA1_BLOCK)
            return;
        block(sha1->state, sha1->rest);
    }
    for (; length >= COSX_SHA1_BLOCK; from += COSX_SHA1_BLOCK, length -= COSX_SHA1_BLOCK)
        block(sha1->state, from);
    if (length)
        memcpy(sha1->rest, from, length);
}

void cosx_sha1_end(cosx_sha1 *sha1, uint8_t digest[COSX_SHA1_BYTES])
{
    static const uint8_t padding[COSX_SHA1_BLOCK] = {0x80};
    uint64_t bits = sha1->length * 8;
    uint8_t count[8];
    for (int i = 0; i < 8; i++)
        count[i] = (uint8_t)(bits >> (56 - 8 * i));
    cosx_sha1_add(sha1, padding, 1 + (2 * COSX_SHA1_BLOCK - 9 - sha1->length % COSX_SHA1_BLOCK) % COSX_SHA1_BLOCK);
    cosx_sha1_add(sha1, count, sizeof count);
    for (int i = 0; i < COSX_SHA1_BYTES; i++)
        digest[i] = (uint8_t)(sha1->state[i / 4] >> (24 - 8 * (i % 4)));
}
