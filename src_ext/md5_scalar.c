/* MD5, one stream (RFC 1321). One stream is a single chain of 64 dependent steps per block, so what counts is the
 * length of the path from one step's result to the next, not the number of instructions. */
#include <string.h>

#include "kernels.h"

/* b reaches the result late: in each step whatever does not need it is added first. G's two terms never have a
 * bit in common, so they are added one by one and b's term joins last. */
#define STEP(f_early, f_late, a, b, c, d, w, k, s)           \
    do {                                                     \
        a += (uint32_t)(k) + word(data + 4 * (w)) + (f_early); \
        a += (f_late);                                       \
        a = ((a << (s)) | (a >> (32 - (s)))) + (b);          \
    } while (0)
#define F(a, b, c, d, w, k, s) STEP(0, ((((c) ^ (d)) & (b)) ^ (d)), a, b, c, d, w, k, s)
#define G(a, b, c, d, w, k, s) STEP((~(d) & (c)), ((d) & (b)), a, b, c, d, w, k, s)
#define H(a, b, c, d, w, k, s) STEP(0, (((c) ^ (d)) ^ (b)), a, b, c, d, w, k, s)
#define I(a, b, c, d, w, k, s) STEP(0, ((~(d) | (b)) ^ (c)), a, b, c, d, w, k, s)

#include "md5_rounds.h"

static inline uint32_t word(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap32(w);
#endif
    return w;
}

void cosx_md5_blocks(uint32_t state[4], const uint8_t *data, size_t blocks)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (; blocks; blocks--, data += COSX_MD5_BLOCK) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        MD5_ROUND1(a, b, c, d)
        MD5_ROUND2(a, b, c, d)
        MD5_ROUND3(a, b, c, d)
        MD5_ROUND4(a, b, c, d)
        a += a0;
        b += b0;
        c += c0;
        d += d0;
    }
    state[0] = a;
    state[1] = b;
    state[2] = c;
    state[3] = d;
}

void cosx_md5_scalar_1x1(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead)
{
    uint32_t s[4];
    (void)ahead; /* one stream is slow enough for the processor's own prefetch */
    for (int w = 0; w < 4; w++)
        s[w] = state[w * COSX_MAX_LANES];
    cosx_md5_blocks(s, data[0], blocks);
    for (int w = 0; w < 4; w++)
        state[w * COSX_MAX_LANES] = s[w];
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
