/* NIST SP 800-38D. Counter mode and GHASH run side by side, 32 blocks in each round.
 *
 * GHASH works on blocks with their bytes reversed, so that bit 127 is the coefficient of x^0. The product of two such
 * numbers is the reversed product shifted by one bit; the powers of H are shifted by one instead, once. */
#include "gcm_vaes.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,aes,pclmul,sse4.1")))
#define INLINE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,aes,pclmul,sse4.1"), always_inline)) \
    static inline

#define BLOCK 16
#define WIDE 8                     /* registers of 4 blocks */
#define ROUND_BYTES (WIDE * 64)
#define POLYNOMIAL UINT64_C(0xc200000000000000)

int cosx_gcm_usable(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vaes") &&
           __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
}

INLINE __m128i reversed(__m128i x)
{
    return _mm_shuffle_epi8(x, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* The three parts of a product of 128 bits each, reduced to one. */
INLINE __m128i reduce(__m128i low, __m128i middle, __m128i high)
{
    const __m128i polynomial = _mm_set_epi64x((long long)POLYNOMIAL, 1);
    middle = _mm_ternarylogic_epi64(middle, _mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(polynomial, low, 0x01), 0x96);
    return _mm_ternarylogic_epi64(high, _mm_shuffle_epi32(middle, 0x4e), _mm_clmulepi64_si128(polynomial, middle, 0x01),
                                  0x96);
}

INLINE __m128i multiply(__m128i a, __m128i b)
{
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10));
    return reduce(_mm_clmulepi64_si128(a, b, 0x00), middle, _mm_clmulepi64_si128(a, b, 0x11));
}

INLINE __m128i encrypt(const cosx_gcm_key *k, __m128i block, const int rounds)
{
    const __m128i *keys = (const __m128i *)k->round_keys;
    block = _mm_xor_si128(block, _mm_load_si128(keys));
    for (int r = 1; r < rounds; r++)
        block = _mm_aesenc_si128(block, _mm_load_si128(keys + r));
    return _mm_aesenclast_si128(block, _mm_load_si128(keys + rounds));
}

/* -- the key ----------------------------------------------------------------------------------------------------------- */

/* Each word of a round key is the word before, combined with the words of the key before. */
INLINE __m128i chained(__m128i key)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 8));
}

#define NEXT_KEY(before, last, constant, word) \
    _mm_xor_si128(chained(before), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(last, constant), word))

TARGET static void expand_128(__m128i *keys)
{
#define STEP(i, constant) keys[i] = NEXT_KEY(keys[(i) - 1], keys[(i) - 1], constant, 0xff)
    STEP(1, 0x01);
    STEP(2, 0x02);
    STEP(3, 0x04);
    STEP(4, 0x08);
    STEP(5, 0x10);
    STEP(6, 0x20);
    STEP(7, 0x40);
    STEP(8, 0x80);
    STEP(9, 0x1b);
    STEP(10, 0x36);
#undef STEP
}

TARGET static void expand_256(__m128i *keys)
{
#define STEP(i, constant)                                              \
    keys[i] = NEXT_KEY(keys[(i) - 2], keys[(i) - 1], constant, 0xff); \
    if ((i) < 14)                                                      \
    keys[(i) + 1] = NEXT_KEY(keys[(i) - 1], keys[i], 0, 0xaa)
    STEP(2, 0x01);
    STEP(4, 0x02);
    STEP(6, 0x04);
    STEP(8, 0x08);
    STEP(10, 0x10);
    STEP(12, 0x20);
    STEP(14, 0x40);
#undef STEP
}

TARGET void cosx_gcm_init(cosx_gcm_key *k, const uint8_t *key, size_t key_bytes)
{
    __m128i *keys = (__m128i *)k->round_keys;
    uint64_t h[2], carry, top;
    k->rounds = key_bytes == 16 ? 10 : 14;
    keys[0] = _mm_loadu_si128((const __m128i *)key);
    if (key_bytes == 16) {
        expand_128(keys);
    } else {
        keys[1] = _mm_loadu_si128((const __m128i *)(key + BLOCK));
        expand_256(keys);
    }
    _mm_storeu_si128((__m128i *)h, reversed(encrypt(k, _mm_setzero_si128(), k->rounds)));
    carry = h[0] >> 63;
    top = h[1] >> 63;
    h[0] = h[0] << 1 ^ top;
    h[1] = (h[1] << 1 | carry) ^ (top ? POLYNOMIAL : 0);
    __m128i first = _mm_loadu_si128((const __m128i *)h), power = first;
    for (int i = 31; i >= 0; i--) {
        _mm_store_si128((__m128i *)k->powers[i], power);
        power = multiply(power, first);
    }
}

/* -- records ----------------------------------------------------------------------------------------------------------- */

INLINE __m128i folded(__m512i x)
{
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* One block of up to 16 bytes; returns the new hash. */
INLINE __m128i seal_block(const cosx_gcm_key *k, __m128i counter, const uint8_t *data, size_t length, uint8_t *out,
                          __m128i hash, const int rounds)
{
    const __mmask16 present = (__mmask16)((1u << length) - 1);
    __m128i block = _mm_xor_si128(encrypt(k, counter, rounds), _mm_maskz_loadu_epi8(present, data));
    block = _mm_maskz_mov_epi8(present, block);
    _mm_mask_storeu_epi8(out, present, block);
    return multiply(_mm_xor_si128(hash, reversed(block)), _mm_load_si128((const __m128i *)k->powers[31]));
}

INLINE __m128i counter_block(const uint8_t nonce[12], uint32_t number)
{
    uint8_t block[BLOCK];
    memcpy(block, nonce, 12);
    number = __builtin_bswap32(number);
    memcpy(block + 12, &number, 4);
    return _mm_loadu_si128((const __m128i *)block);
}

INLINE void seal(const cosx_gcm_key *k, const uint8_t *nonce, const uint8_t *head, const uint8_t *data, size_t length,
                 uint8_t type, uint8_t *out, const int rounds)
{
    const __m512i reverse = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    /* The counter is the last word of a block, its highest byte first. Here it is kept as a number. */
    const __m512i as_block = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    const __m512i four = _mm512_broadcast_i32x4(_mm_set_epi32(4, 0, 0, 0));
    const __m128i one_h = _mm_load_si128((const __m128i *)k->powers[31]);
    uint8_t tail[ROUND_BYTES + BLOCK], first[BLOCK] = {0};
    size_t done = 0;
    __m512i keys[15];
    for (int r = 0; r <= rounds; r++)
        keys[r] = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)k->round_keys[r]));
    memcpy(first, head, COSX_GCM_HEAD_BYTES);
    __m128i hash = multiply(reversed(_mm_loadu_si128((const __m128i *)first)), one_h);
    __m512i counter = _mm512_add_epi32(
        _mm512_broadcast_i32x4(_mm_shuffle_epi8(counter_block(nonce, 2), _mm512_castsi512_si128(as_block))),
        _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0));
    for (; length - done >= ROUND_BYTES; done += ROUND_BYTES) {
        __m512i b[WIDE];
        for (int i = 0; i < WIDE; i++) {
            b[i] = _mm512_xor_si512(_mm512_shuffle_epi8(counter, as_block), keys[0]);
            counter = _mm512_add_epi32(counter, four);
        }
        for (int r = 1; r < rounds; r++)
            for (int i = 0; i < WIDE; i++)
                b[i] = _mm512_aesenc_epi128(b[i], keys[r]);
        __m512i low = _mm512_setzero_si512(), middle = low, other = low, high = low;
        for (int i = 0; i < WIDE; i++) {
            b[i] = _mm512_xor_si512(_mm512_aesenclast_epi128(b[i], keys[rounds]), _mm512_loadu_si512(data + done + 64 * i));
            _mm512_storeu_si512(out + done + 64 * i, b[i]);
            __m512i x = _mm512_shuffle_epi8(b[i], reverse);
            if (i == 0)
                x = _mm512_xor_si512(x, _mm512_zextsi128_si512(hash));
            const __m512i power = _mm512_load_si512(k->powers[4 * i]);
            low = _mm512_xor_si512(low, _mm512_clmulepi64_epi128(x, power, 0x00));
            middle = _mm512_xor_si512(middle, _mm512_clmulepi64_epi128(x, power, 0x01));
            other = _mm512_xor_si512(other, _mm512_clmulepi64_epi128(x, power, 0x10));
            high = _mm512_xor_si512(high, _mm512_clmulepi64_epi128(x, power, 0x11));
        }
        hash = reduce(folded(low), folded(_mm512_xor_si512(middle, other)), folded(high));
    }
    size_t rest = length - done;
    memcpy(tail, data + done, rest);
    tail[rest++] = type;
    uint32_t number = 2 + (uint32_t)(done / BLOCK);
    for (size_t at = 0; at < rest; at += BLOCK, number++) {
        size_t n = rest - at < BLOCK ? rest - at : BLOCK;
        hash = seal_block(k, counter_block(nonce, number), tail + at, n, out + done + at, hash, rounds);
    }
    __m128i lengths = _mm_set_epi64x(8 * COSX_GCM_HEAD_BYTES, (long long)(8 * (length + 1)));
    hash = multiply(_mm_xor_si128(hash, lengths), one_h);
    __m128i tag = _mm_xor_si128(reversed(hash), encrypt(k, counter_block(nonce, 1), rounds));
    _mm_storeu_si128((__m128i *)(out + length + 1), tag);
}

TARGET static void seal_128(const cosx_gcm_key *k, const uint8_t *nonce, const uint8_t *head, const uint8_t *data,
                            size_t length, uint8_t type, uint8_t *out)
{
    seal(k, nonce, head, data, length, type, out, 10);
}

TARGET static void seal_256(const cosx_gcm_key *k, const uint8_t *nonce, const uint8_t *head, const uint8_t *data,
                            size_t length, uint8_t type, uint8_t *out)
{
    seal(k, nonce, head, data, length, type, out, 14);
}

void cosx_gcm_seal(const cosx_gcm_key *k, const uint8_t nonce[12], const uint8_t head[COSX_GCM_HEAD_BYTES],
                   const uint8_t *data, size_t length, uint8_t type, uint8_t *out)
{
    (k->rounds == 10 ? seal_128 : seal_256)(k, nonce, head, data, length, type, out);
}

#else

int cosx_gcm_usable(void)
{
    return 0;
}

void cosx_gcm_init(cosx_gcm_key *k, const uint8_t *key, size_t key_bytes)
{
    (void)k, (void)key, (void)key_bytes;
}

void cosx_gcm_seal(const cosx_gcm_key *k, const uint8_t nonce[12], const uint8_t head[COSX_GCM_HEAD_BYTES],
                   const uint8_t *data, size_t length, uint8_t type, uint8_t *out)
{
    (void)k, (void)nonce, (void)head, (void)data, (void)length, (void)type, (void)out;
}

#endif
