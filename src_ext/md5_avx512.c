/* MD5 in AVX-512: 16 lanes to a vector. Any three-input function and a rotation are one instruction each, so a step is
 * four dependent ones (function, add, rotate, add). */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

/* Only the fused kernels contain VPCLMULQDQ: no compiler generates it from other code. */
#define KERNEL_TARGET __attribute__((target("avx512f,avx512vl,vpclmulqdq")))
#define INLINE KERNEL_TARGET static inline __attribute__((always_inline))
#define WIDTH 16
#define UNITS 2

typedef __m512i vec;

INLINE vec load_state(const void *p)
{
    return _mm512_loadu_si512(p);
}
INLINE void store_state(void *p, vec v)
{
    _mm512_storeu_si512(p, v);
}
#define add(x, y) _mm512_add_epi32(x, y)
#define broadcast(k) _mm512_set1_epi32((int)(k))

/* The empty asm keeps the compiler from reassociating the sum: the term with b must be added last. */
#define STEP(truth_table, b, c, d, early, s)                                     \
    ({                                                                           \
        vec sum = early;                                                         \
        __asm__("" : "+v"(sum));                                                 \
        sum = add(sum, _mm512_ternarylogic_epi32(b, c, d, truth_table));         \
        add(_mm512_rol_epi32(sum, s), b);                                        \
    })
#define step_f(b, c, d, early, s) STEP(0xca, b, c, d, early, s)
#define step_g(b, c, d, early, s) STEP(0xe4, b, c, d, early, s)
#define step_h(b, c, d, early, s) STEP(0x96, b, c, d, early, s)
#define step_i(b, c, d, early, s) STEP(0x39, b, c, d, early, s)

INLINE vec two_rows(const uint8_t *low, const uint8_t *high)
{
    __m256i half = _mm256_loadu_si256((const __m256i *)low);
    return _mm512_inserti64x4(_mm512_castsi256_si512(half), _mm256_loadu_si256((const __m256i *)high), 1);
}

/* Half a block of 16 streams: 16 x 8 words transposed. Half, because a whole one would need all the registers. */
INLINE void load_unit(vec *w, const uint8_t *const *data, size_t offset, int unit)
{
    vec column[2][4];
    offset += 32 * (size_t)unit;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const uint8_t *const *row = data + 8 * h;
        vec r0 = two_rows(row[0] + offset, row[4] + offset), r1 = two_rows(row[1] + offset, row[5] + offset);
        vec r2 = two_rows(row[2] + offset, row[6] + offset), r3 = two_rows(row[3] + offset, row[7] + offset);
        vec t0 = _mm512_unpacklo_epi32(r0, r1), t1 = _mm512_unpackhi_epi32(r0, r1);
        vec t2 = _mm512_unpacklo_epi32(r2, r3), t3 = _mm512_unpackhi_epi32(r2, r3);
        column[h][0] = _mm512_unpacklo_epi64(t0, t2);
        column[h][1] = _mm512_unpackhi_epi64(t0, t2);
        column[h][2] = _mm512_unpacklo_epi64(t1, t3);
        column[h][3] = _mm512_unpackhi_epi64(t1, t3);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        w[8 * unit + j] = _mm512_shuffle_i32x4(column[0][j], column[1][j], 0x88);
        w[8 * unit + 4 + j] = _mm512_shuffle_i32x4(column[0][j], column[1][j], 0xdd);
    }
}

/* As in crc64_vpclmul.c. */
INLINE void fold_lines(const cosx_fold *fold, int first, int count)
{
    const __m512i by = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)&cosx_crc64_fold_256));
    __m512i *accumulator = (__m512i *)fold->accumulator;
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
        __m512i acc = _mm512_loadu_si512(&accumulator[i % 4]);
        __m512i low = _mm512_clmulepi64_epi128(acc, by, 0x00), high = _mm512_clmulepi64_epi128(acc, by, 0x11);
        __m512i next = _mm512_loadu_si512(fold->data + 64 * (first + i));
        _mm512_storeu_si512(&accumulator[i % 4], _mm512_ternarylogic_epi64(low, high, next, 0x96));
    }
}
#define FOLD_LINES(fold, first, count) fold_lines(fold, first, count)

#include "md5_lanes.h"

DEFINE_MD5_KERNEL(cosx_md5_avx512_1x16, 1)
DEFINE_MD5_KERNEL(cosx_md5_avx512_2x16, 2)
DEFINE_FUSED_KERNEL(cosx_fused_avx512_1x16, 1)
DEFINE_FUSED_KERNEL(cosx_fused_avx512_2x16, 2)

#endif
