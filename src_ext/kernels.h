/* Every variant of every kernel, so that tests and the dispatcher reach each one. Private to this folder. */
#ifndef COSX_KERNELS_H
#define COSX_KERNELS_H

#include "digest.h"

#define COSX_MAX_LANES 32

/* MD5 of `blocks` blocks from each lane. Word w of lane l is state[w * COSX_MAX_LANES + l]; lane l reads from data[l].
 * All lanes of the width are read, so an idle one must point to readable memory. During block i, a kernel prefetches as
 * many cache lines as it has lanes, from ahead[i] on, which may be any address. */
typedef void cosx_md5_lanes_fn(uint32_t *state, const uint8_t *const *data, size_t blocks,
                               const uint8_t *const *ahead);
typedef uint64_t cosx_crc64_fn(uint64_t crc, const uint8_t *data, size_t size);

/* An unfinished CRC by folding: 256 bytes that represent all bytes read so far, as if the message began with them. */
#define COSX_FOLD_BYTES 256
typedef struct {
    uint8_t *accumulator;
    const uint8_t *data;
} cosx_fold;
/* The same with a CRC, because MD5 in lanes waits for its own results most of the time. During block i, a kernel also
 * folds as many cache lines as it has lanes from folds[i].data into folds[i].accumulator. */
typedef void cosx_fused_fn(uint32_t *state, const uint8_t *const *data, size_t blocks, const uint8_t *const *ahead,
                           const cosx_fold *folds);

typedef struct {
    unsigned lanes;
    cosx_md5_lanes_fn *run;
    cosx_fused_fn *run_fused; /* NULL if there is none */
} cosx_md5_width;

typedef struct {
    const char *name;
    int (*available)(void);
    unsigned narrow;          /* for so many lanes or fewer, the scalar widths are faster, two lanes at a time */
    cosx_md5_width widths[7]; /* ascending: 1 and 2 (scalar), then vectors; lanes == 0 ends the list */
    cosx_crc64_fn *crc64;
    int fused; /* whether the processor can run run_fused */
} cosx_kernel;

extern const cosx_kernel *cosx_kernel_in_use;
extern unsigned cosx_lane_limit;

/* md5_scalar.c */
void cosx_md5_blocks(uint32_t state[4], const uint8_t *data, size_t blocks);
/* Writes the end of a message of `length` bytes whose last, incomplete block is `rest`: 1 or 2 blocks. Returns how
 * many. */
size_t cosx_md5_padding(uint8_t out[2 * COSX_MD5_BLOCK], const uint8_t *rest, uint64_t length);
void cosx_md5_output(const uint32_t state[4], uint8_t out[16]);
cosx_md5_lanes_fn cosx_md5_scalar_1x1, cosx_md5_scalar_2x1;

/* md5_avx512.c, md5_avx2.c, md5_portable.c, md5_neon.c: groups x lanes of a vector */
cosx_md5_lanes_fn cosx_md5_avx512_1x16, cosx_md5_avx512_2x16;
cosx_fused_fn cosx_fused_avx512_1x16, cosx_fused_avx512_2x16;
cosx_md5_lanes_fn cosx_md5_avx2_1x8, cosx_md5_avx2_2x8, cosx_md5_avx2_3x8, cosx_md5_avx2_4x8;
cosx_fused_fn cosx_fused_avx2_1x8, cosx_fused_avx2_2x8, cosx_fused_avx2_3x8;
cosx_md5_lanes_fn cosx_md5_portable_2x4, cosx_md5_portable_3x4, cosx_md5_portable_4x4;
cosx_md5_lanes_fn cosx_md5_neon_1x4, cosx_md5_neon_2x4, cosx_md5_neon_4x4;

/* crc64_table.c, crc64_pclmul.c, crc64_vpclmul.c, crc64_vpclmul256.c, crc64_pmull.c */
cosx_crc64_fn cosx_crc64_table, cosx_crc64_pclmul, cosx_crc64_vpclmul, cosx_crc64_vpclmul256, cosx_crc64_pmull;
/* Continues a remainder: the CRC without the inversions before and after. */
uint64_t cosx_crc64_remainder(uint64_t remainder, const uint8_t *data, size_t size);

/* Folding by carry-less multiplication (Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ",
 * Intel 2009). 16 bytes, as a polynomial A = L * x^64 + H with L first in memory, move on over n bytes when L is
 * multiplied by x^(8n + 64) mod P and H by x^(8n) mod P, and both are added to what is there. A product of two
 * reflected words comes out one place short, which the exponents below make up for. */
typedef struct {
    uint64_t low;  /* x^(8n + 63) mod P, reflected */
    uint64_t high; /* x^(8n - 1) mod P, reflected */
} cosx_crc64_factor;
extern cosx_crc64_factor cosx_crc64_fold_16, cosx_crc64_fold_32, cosx_crc64_fold_64, cosx_crc64_fold_128,
    cosx_crc64_fold_256;

#endif
