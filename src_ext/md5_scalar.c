/* MD5 of one stream (RFC 1321). A block is a single chain of 64 dependent steps. So the length of the path from one
 * step to the next decides the speed, not the number of instructions. */
#include <string.h>

#include "kernels.h"

static inline uint32_t word(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap32(w);
#endif
    return w;
}

/* b is the result of the step before, so everything that does not need b is added first. (The empty asm keeps the
 * compiler from reassociating the sum.) G's two terms never have a bit in common, so they may be added one by one. A
 * step then takes 4 (G, H) or 5 (F, I) dependent instructions, 288 for a block, which is the minimum for one stream.
 * Two streams side by side take little longer than one. */
#define STEP(early, late, b, s)                                                   \
    ({                                                                            \
        uint32_t sum = early;                                                     \
        __asm__("" : "+r"(sum));                                                  \
        sum += (late);                                                            \
        ((sum << (s)) | (sum >> (32 - (s)))) + (b);                               \
    })
#define step_f(b, c, d, early, s) STEP(early, (((c) ^ (d)) & (b)) ^ (d), b, s)
#define step_g(b, c, d, early, s) STEP((early) + (~(d) & (c)), (d) & (b), b, s)
#define step_h(b, c, d, early, s) STEP(early, ((c) ^ (d)) ^ (b), b, s)
#define step_i(b, c, d, early, s) STEP(early, (~(d) | (b)) ^ (c), b, s)

#define STEP_ALL(step, a, b, c, d, i, k, s)                                       \
    _Pragma("GCC unroll 2") for (int g = 0; g < streams; g++)                     \
        a[g] = step(b[g], c[g], d[g], a[g] + word(data[g] + 4 * (i)) + (k), s);
#define F(a, b, c, d, i, k, s) STEP_ALL(step_f, a, b, c, d, i, k, s)
#define G(a, b, c, d, i, k, s) STEP_ALL(step_g, a, b, c, d, i, k, s)
#define H(a, b, c, d, i, k, s) STEP_ALL(step_h, a, b, c, d, i, k, s)
#define I(a, b, c, d, i, k, s) STEP_ALL(step_i, a, b, c, d, i, k, s)

#include "md5_rounds.h"

/* Word w of stream g is state[w * stride + g]. */
static inline __attribute__((always_inline)) void run(const int streams, const int stride, uint32_t *state,
                                                      const uint8_t *const *start, size_t blocks)
{
    uint32_t a[2], b[2], c[2], d[2], a0[2], b0[2], c0[2], d0[2];
    const uint8_t *data[2];
#pragma GCC unroll 2
    for (int g = 0; g < streams; g++) {
        data[g] = start[g];
        a[g] = state[g];
        b[g] = state[stride + g];
        c[g] = state[2 * stride + g];
        d[g] = state[3 * stride + g];
    }
    for (; blocks; blocks--) {
#pragma GCC unroll 2
        for (int g = 0; g < streams; g++) {
            a0[g] = a[g];
            b0[g] = b[g];
            c0[g] = c[g];
            d0[g] = d[g];
        }
        MD5_ROUND1(a, b, c, d)
        MD5_ROUND2(a, b, c, d)
        MD5_ROUND3(a, b, c, d)
        MD5_ROUND4(a, b, c, d)
#pragma GCC unroll 2
        for (int g = 0; g < streams; g++) {
            a[g] += a0[g];
            b[g] += b0[g];
            c[g] += c0[g];
            d[g] += d0[g];
            data[g] += COSX_MD5_BLOCK;
        }
    }
#pragma GCC unroll 2
    for (int g = 0; g < streams; g++) {
        state[g] = a[g];
        state[stride + g] = b[g];
        state[2 * stride + g] = c[g];
        state[3 * stride + g] = d[g];
    }
}

void cosx_md5_blocks(uint32_t state[4], const uint8_t *data, size_t blocks)
{
    run(1, 1, state, &data, blocks);
}

/* `ahead` is not used: these streams are slow enough for the processor's own prefetch. */
void cosx_md5_scalar_1x1(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead)
{
    (void)ahead;
    run(1, COSX_MAX_LANES, state, data, blocks);
}

void cosx_md5_scalar_2x1(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead)
{
    (void)ahead;
    run(2, COSX_MAX_LANES, state, data, blocks);
}

void cosx_md5_init(cosx_md5 *md5)
{
    memset(md5, 0, sizeof *md5);
    md5->state[0] = 0x67452301u;
    md5->state[1] = 0xefcdab89u;
    md5->state[2] = 0x98badcfeu;
    md5->state[3] = 0x10325476u;
}

void cosx_md5_update(cosx_md5 *md5, const uint8_t *data, size_t size)
{
    size_t held = md5->length % COSX_MD5_BLOCK;
    md5->length += size;
    if (held) {
        size_t take = COSX_MD5_BLOCK - held;
        if (take > size)
            take = size;
        memcpy(md5->tail + held, data, take);
        data += take;
        size -= take;
        if (held + take < COSX_MD5_BLOCK)
            return;
        cosx_md5_blocks(md5->state, md5->tail, 1);
    }
    size_t blocks = size / COSX_MD5_BLOCK;
    if (blocks)
        cosx_md5_blocks(md5->state, data, blocks);
    if (size % COSX_MD5_BLOCK)
        memcpy(md5->tail, data + blocks * COSX_MD5_BLOCK, size % COSX_MD5_BLOCK);
}

size_t cosx_md5_padding(uint8_t out[2 * COSX_MD5_BLOCK], const uint8_t *rest, uint64_t length)
{
    size_t held = length % COSX_MD5_BLOCK;
    size_t blocks = held < 56 ? 1 : 2;
    uint64_t bits = length * 8;
    memset(out, 0, 2 * COSX_MD5_BLOCK);
    if (held)
        memcpy(out, rest, held);
    out[held] = 0x80;
    for (int i = 0; i < 8; i++)
        out[blocks * COSX_MD5_BLOCK - 8 + i] = (uint8_t)(bits >> (8 * i));
    return blocks;
}

void cosx_md5_output(const uint32_t state[4], uint8_t out[16])
{
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)(state[i / 4] >> (8 * (i % 4)));
}

void cosx_md5_digest(const cosx_md5 *md5, uint8_t out[16])
{
    uint8_t last[2 * COSX_MD5_BLOCK];
    uint32_t state[4];
    size_t blocks = cosx_md5_padding(last, md5->tail, md5->length);
    memcpy(state, md5->state, sizeof state);
    cosx_md5_blocks(state, last, blocks);
    cosx_md5_output(state, out);
}
