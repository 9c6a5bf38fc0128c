/* The body of a vector MD5 kernel, for kernels that have defined their vectors.
 *
 * One vector holds the same word of WIDTH streams. A step of MD5 depends on the one before, so one vector at a time
 * leaves the processor waiting for its own results: a kernel runs several groups of lanes side by side, step by step.
 * While it does, it transposes the next block (the four HOOKs, between the rounds) and prefetches.
 *
 * The includer defines, before it includes this file once:
 *   vec                      the vector type, WIDTH lanes of 32 bits
 *   UNITS, load_unit         load_unit(w, data, offset, unit): words 16 / UNITS * unit and following of WIDTH streams
 *   load_state, store_state  a vector from and to memory
 *   step_f, step_g, step_h, step_i (b, c, d, early, s)  one step for one group: the new a; early is a + word + constant
 *   broadcast, add           a constant in all lanes; lane-wise sum
 *   KERNEL_TARGET            the attribute of functions that use these
 *   FOLD_LINES               optional: FOLD_LINES(fold, first, count) folds cache lines (kernels.h: cosx_fused_fn)
 * and then, for each number of groups, DEFINE_MD5_KERNEL(name, groups) and, with FOLD_LINES, DEFINE_FUSED_KERNEL.
 */
#ifndef COSX_MD5_LANES_H
#define COSX_MD5_LANES_H

#include "kernels.h"

#ifndef FOLD_LINES
#define FOLD_LINES(fold, first, count) ((void)0)
#endif

#define STEP_ALL(step, a, b, c, d, i, k, s)                                                 \
    _Pragma("GCC unroll 4") for (int g = 0; g < groups; g++)                                \
        a[g] = step(b[g], c[g], d[g], add(add(a[g], w[16 * g + (i)]), broadcast(k)), s);
#define F(a, b, c, d, i, k, s) STEP_ALL(step_f, a, b, c, d, i, k, s)
#define G(a, b, c, d, i, k, s) STEP_ALL(step_g, a, b, c, d, i, k, s)
#define H(a, b, c, d, i, k, s) STEP_ALL(step_h, a, b, c, d, i, k, s)
#define I(a, b, c, d, i, k, s) STEP_ALL(step_i, a, b, c, d, i, k, s)

#include "md5_rounds.h"

/* A quarter of what has to be done for later blocks. */
#define HOOK(quarter)                                                                            \
    _Pragma("GCC unroll 16") for (int i = (quarter) * lanes / 4; i < ((quarter) + 1) * lanes / 4; i++) \
        __builtin_prefetch(later + COSX_MD5_BLOCK * i, 0, 3);                                    \
    _Pragma("GCC unroll 16") for (int u = (quarter) * units / 4; u < ((quarter) + 1) * units / 4; u++) \
        load_unit(n + 16 * (u / UNITS), data + WIDTH * (u / UNITS), next, u % UNITS);            \
    if (folds)                                                                                   \
        FOLD_LINES(folds, (quarter) * lanes / 4, lanes / 4);                                     \
    __asm__ volatile("" ::: "memory"); /* here, not hoisted: registers are short */

KERNEL_TARGET static inline __attribute__((always_inline)) void run_groups(
    const int groups, uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead,
    const cosx_fold *folds)
{
    const int lanes = groups * WIDTH, units = groups * UNITS;
    vec a[4], b[4], c[4], d[4], a0[4], b0[4], c0[4], d0[4];
    vec words[2][4 * 16], *w = words[0], *n = words[1];
    size_t offset = 0;
    if (blocks == 0)
        return;
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
        a[g] = load_state(state + WIDTH * g);
        b[g] = load_state(state + COSX_MAX_LANES + WIDTH * g);
        c[g] = load_state(state + 2 * COSX_MAX_LANES + WIDTH * g);
        d[g] = load_state(state + 3 * COSX_MAX_LANES + WIDTH * g);
        for (int u = 0; u < UNITS; u++)
            load_unit(w + 16 * g, data + WIDTH * g, 0, u);
    }
    for (; blocks; blocks--) {
        const size_t next = blocks > 1 ? offset + COSX_MD5_BLOCK : offset; /* not past the end */
        const uint8_t *later = *ahead++;
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            a0[g] = a[g];
            b0[g] = b[g];
            c0[g] = c[g];
            d0[g] = d[g];
        }
        HOOK(0)
        MD5_ROUND1(a, b, c, d)
        HOOK(1)
        MD5_ROUND2(a, b, c, d)
        HOOK(2)
        MD5_ROUND3(a, b, c, d)
        HOOK(3)
        MD5_ROUND4(a, b, c, d)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            a[g] = add(a[g], a0[g]);
            b[g] = add(b[g], b0[g]);
            c[g] = add(c[g], c0[g]);
            d[g] = add(d[g], d0[g]);
        }
        vec *t = w;
        w = n;
        n = t;
        offset = next;
        if (folds)
            folds++;
    }
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
        store_state(state + WIDTH * g, a[g]);
        store_state(state + COSX_MAX_LANES + WIDTH * g, b[g]);
        store_state(state + 2 * COSX_MAX_LANES + WIDTH * g, c[g]);
        store_state(state + 3 * COSX_MAX_LANES + WIDTH * g, d[g]);
    }
}

#define DEFINE_MD5_KERNEL(name, groups)                                                                       \
    KERNEL_TARGET void name(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead) \
    {                                                                                                         \
        run_groups(groups, state, data, blocks, ahead, NULL);                                                       \
    }
#define DEFINE_FUSED_KERNEL(name, groups)                                                                     \
    KERNEL_TARGET void name(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead, \
                            const cosx_fold *folds)                                                           \
    {                                                                                                         \
        if (folds)                                                                                            \
            run_groups(groups, state, data, blocks, ahead, folds);                                            \
    }

#endif
