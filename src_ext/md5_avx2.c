/* MD5 in AVX2: 8 lanes to a vector, 16 registers, no rotation. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

/* Only the fused kernels contain VPCLMULQDQ: no compiler generates it from other code. */
#define KERNEL_TARGET __attribute__((target("avx2,vpclmulqdq")))
#define INLINE KERNEL_TARGET static inline __attribute__((always_inline))
#define WIDTH 8
#define UNITS 4

typedef __m256i vec;

INLINE vec load_state(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
INLINE void store_state(void *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}
#define add(x, y) _mm256_add_epi32(x, y)
#define broadcast(k) _mm256_set1_epi32((int)(k))

/* Everything that does not need b is added first. The empty asm keeps the compiler from reassociating the sum. */
#define STEP(early, late, b, s)                                                                     \
    ({                                                                                              \
        vec sum = early;                                                                            \
        __asm__("" : "+x"(sum));                                                                    \
        sum = add(sum, late);                                                                       \
        add(_mm256_or_si256(_mm256_slli_epi32(sum, s), _mm256_srli_epi32(sum, 32 - (s))), b);       \
    })
#define AND(x, y) _mm256_and_si256(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define step_f(b, c, d, early, s) STEP(early, XOR(AND(XOR(c, d), b), d), b, s)
#define step_g(b, c, d, early, s) STEP(add(early, _mm256_andnot_si256(d, c)), AND(b, d), b, s)
#define step_h(b, c, d, early, s) STEP(early, XOR(XOR(c, d), b), b, s)
#define step_i(b, c, d, early, s) \
    STEP(early, XOR(c, _mm256_or_si256(b, XOR(d, _mm256_set1_epi32(-1)))), b, s)

INLINE vec two_rows(const uint8_t *low, const uint8_t *high)
{
    __m128i half = _mm_loadu_si128((const __m128i *)low);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(half), _mm_loadu_si128((const __m128i *)high), 1);
}

/* A quarter of a block of 8 streams: 8 x 4 words transposed. */
INLINE void load_unit(vec *w, const uint8_t *const *data, size_t offset, int unit)
{
    offset += 16 * (size_t)unit;
    vec r0 = two_rows(data[0] + offset, data[4] + offset), r1 = two_rows(data[1] + offset, data[5] + offset);
    vec r2 = two_rows(data[2] + offset, data[6] + offset), r3 = two_rows(data[3] + offset, data[7] + offset);
    vec t0 = _mm256_unpacklo_epi32(r0, r1), t1 = _mm256_unpackhi_epi32(r0, r1);
    vec t2 = _mm256_unpacklo_epi32(r2, r3), t3 = _mm256_unpackhi_epi32(r2, r3);
    w[4 * unit] = _mm256_unpacklo_epi64(t0, t2);
    w[4 * unit + 1] = _mm256_unpackhi_epi64(t0, t2);
    w[4 * unit + 2] = _mm256_unpacklo_epi64(t1, t3);
    w[4 * unit + 3] = _mm256_unpackhi_epi64(t1, t3);
}

/* As in crc64_vpclmul256.c. */
INLINE void fold_lines(const cosx_fold *fold, int first, int count)
{
    const __m256i by = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)&cosx_crc64_fold_256));
    __m256i *accumulator = (__m256i *)fold->accumulator;
#pragma GCC unroll 16
    for (int i = 2 * first; i < 2 * (first + count); i++) {
        __m256i acc = _mm256_loadu_si256(&accumulator[i % 8]);
        __m256i low = _mm256_clmulepi64_epi128(acc, by, 0x00), high = _mm256_clmulepi64_epi128(acc, by, 0x11);
        __m256i next = _mm256_loadu_si256((const __m256i *)(fold->data + 32 * i));
        _mm256_storeu_si256(&accumulator[i % 8], _mm256_xor_si256(_mm256_xor_si256(low, high), next));
    }
}
#define FOLD_LINES(fold, first, count) fold_lines(fold, first, count)

#include "md5_lanes.h"

DEFINE_MD5_KERNEL(cosx_md5_avx2_1x8, 1)
DEFINE_MD5_KERNEL(cosx_md5_avx2_2x8, 2)
DEFINE_MD5_KERNEL(cosx_md5_avx2_3x8, 3)
DEFINE_MD5_KERNEL(cosx_md5_avx2_4x8, 4)
DEFINE_FUSED_KERNEL(cosx_fused_avx2_1x8, 1)
DEFINE_FUSED_KERNEL(cosx_fused_avx2_2x8, 2)
DEFINE_FUSED_KERNEL(cosx_fused_avx2_3x8, 3)

#endif
