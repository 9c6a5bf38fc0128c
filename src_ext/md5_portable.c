/* MD5 in the compiler's own vectors of 4 lanes: SSE2 on x86-64, on other machines the 128-bit unit that they have. */
#include <string.h>

#include "kernels.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#define KERNEL_TARGET
#define INLINE static inline __attribute__((always_inline))
#define WIDTH 4
#define UNITS 4

typedef uint32_t vec __attribute__((vector_size(16)));

INLINE vec load_state(const void *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store_state(void *p, vec v)
{
    memcpy(p, &v, sizeof v);
}
#define add(x, y) ((x) + (y))
#define broadcast(k) ((vec){(k), (k), (k), (k)})

#if defined(__SSE2__)
#define PIN(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define PIN(v) __asm__("" : "+w"(v))
#else
#define PIN(v) ((void)0)
#endif

/* Everything that does not need b is added first. PIN keeps the compiler from reassociating the sum. */
#define STEP(early, late, b, s)                        \
    ({                                                 \
        vec sum = early;                               \
        PIN(sum);                                      \
        sum += late;                                   \
        ((sum << (s)) | (sum >> (32 - (s)))) + (b);    \
    })
#define step_f(b, c, d, early, s) STEP((early), ((((c) ^ (d)) & (b)) ^ (d)), b, s)
#define step_g(b, c, d, early, s) STEP((early) + (~(d) & (c)), ((b) & (d)), b, s)
#define step_h(b, c, d, early, s) STEP((early), (((c) ^ (d)) ^ (b)), b, s)
#define step_i(b, c, d, early, s) STEP((early), ((c) ^ ((b) | ~(d))), b, s)

/* A quarter of a block of 4 streams: 4 x 4 words transposed. */
INLINE void load_unit(vec *w, const uint8_t *const *data, size_t offset, int unit)
{
    typedef uint64_t wide __attribute__((vector_size(16)));
    offset += 16 * (size_t)unit;
    vec r0 = load_state(data[0] + offset), r1 = load_state(data[1] + offset);
    vec r2 = load_state(data[2] + offset), r3 = load_state(data[3] + offset);
    wide t0 = (wide)__builtin_shuffle(r0, r1, (vec){0, 4, 1, 5}), t1 = (wide)__builtin_shuffle(r0, r1, (vec){2, 6, 3, 7});
    wide t2 = (wide)__builtin_shuffle(r2, r3, (vec){0, 4, 1, 5}), t3 = (wide)__builtin_shuffle(r2, r3, (vec){2, 6, 3, 7});
    w[4 * unit] = (vec)__builtin_shuffle(t0, t2, (wide){0, 2});
    w[4 * unit + 1] = (vec)__builtin_shuffle(t0, t2, (wide){1, 3});
    w[4 * unit + 2] = (vec)__builtin_shuffle(t1, t3, (wide){0, 2});
    w[4 * unit + 3] = (vec)__builtin_shuffle(t1, t3, (wide){1, 3});
}

#include "md5_lanes.h"

DEFINE_MD5_KERNEL(cosx_md5_portable_2x4, 2)
DEFINE_MD5_KERNEL(cosx_md5_portable_3x4, 3)
DEFINE_MD5_KERNEL(cosx_md5_portable_4x4, 4)

#endif
