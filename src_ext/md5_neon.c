/* MD5 in NEON (aarch64): 4 lanes to a vector, 32 registers, bit select and shift-insert. */
#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>

#include "kernels.h"

#define KERNEL_TARGET
#define INLINE static inline __attribute__((always_inline))
#define WIDTH 4
#define UNITS 4

typedef uint32x4_t vec;

INLINE vec load_state(const uint32_t *p)
{
    return vld1q_u32(p);
}
INLINE void store_state(uint32_t *p, vec v)
{
    vst1q_u32(p, v);
}
#define add(x, y) vaddq_u32(x, y)
#define broadcast(k) vdupq_n_u32(k)

/* Everything that does not need b is added first. The empty asm keeps the compiler from reassociating the sum. */
#define STEP(sum_early, late, b, s)                              \
    ({                                                           \
        vec sum = sum_early;                                     \
        __asm__("" : "+w"(sum));                                 \
        sum = add(sum, late);                                    \
        add(vsriq_n_u32(vshlq_n_u32(sum, s), sum, 32 - (s)), b); \
    })
#define step_f(b, c, d, early, s) STEP(early, vbslq_u32(b, c, d), b, s)
#define step_g(b, c, d, early, s) STEP(early, vbslq_u32(d, b, c), b, s)
#define step_h(b, c, d, early, s) STEP(early, veorq_u32(veorq_u32(c, d), b), b, s)
#define step_i(b, c, d, early, s) STEP(early, veorq_u32(c, vornq_u32(b, d)), b, s)

INLINE vec load_row(const uint8_t *p)
{
    return vreinterpretq_u32_u8(vld1q_u8(p));
}

/* A quarter of a block of 4 streams: 4 x 4 words transposed. */
INLINE void load_unit(vec *w, const uint8_t *const *data, size_t offset, int unit)
{
    offset += 16 * (size_t)unit;
    vec r0 = load_row(data[0] + offset), r1 = load_row(data[1] + offset);
    vec r2 = load_row(data[2] + offset), r3 = load_row(data[3] + offset);
    uint64x2_t t0 = vreinterpretq_u64_u32(vtrn1q_u32(r0, r1)), t1 = vreinterpretq_u64_u32(vtrn2q_u32(r0, r1));
    uint64x2_t t2 = vreinterpretq_u64_u32(vtrn1q_u32(r2, r3)), t3 = vreinterpretq_u64_u32(vtrn2q_u32(r2, r3));
    w[4 * unit] = vreinterpretq_u32_u64(vtrn1q_u64(t0, t2));
    w[4 * unit + 1] = vreinterpretq_u32_u64(vtrn1q_u64(t1, t3));
    w[4 * unit + 2] = vreinterpretq_u32_u64(vtrn2q_u64(t0, t2));
    w[4 * unit + 3] = vreinterpretq_u32_u64(vtrn2q_u64(t1, t3));
}

#include "md5_lanes.h"

DEFINE_MD5_KERNEL(cosx_md5_neon_1x4, 1)
DEFINE_MD5_KERNEL(cosx_md5_neon_2x4, 2)
DEFINE_MD5_KERNEL(cosx_md5_neon_4x4, 4)

#endif
