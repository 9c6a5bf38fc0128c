/* Every variant of every kernel, so that tests and the dispatcher reach each one. Private to this folder. */
#ifndef COSX_KERNELS_H
#define COSX_KERNELS_H

#include "digest.h"

#define COSX_MAX_LANES 32

/* MD5 of `blocks` blocks from each lane. Word w of lane l is state[w * COSX_MAX_LANES + l]; data[l] is where lane
 * l reads. All lanes of the width are read, so an idle one must point to readable memory. */
typedef void cosx_md5_lanes_fn(uint32_t *state, const uint8_t *const *data, size_t blocks);
typedef uint64_t cosx_crc64_fn(uint64_t crc, const uint8_t *data, size_t size);

typedef struct {
    unsigned lanes;
    cosx_md5_lanes_fn *run;
} cosx_md5_width;

typedef struct {
    const char *name;
    int (*available)(void);
    cosx_md5_width widths[5]; /* ascending; lanes == 0 ends the list */
    cosx_crc64_fn *crc64;
} cosx_kernel;

extern const cosx_kernel *cosx_kernel_in_use;
extern unsigned cosx_lane_limit;

/* md5_scalar.c */
void cosx_md5_blocks(uint32_t state[4], const uint8_t *data, size_t blocks);
/* What ends a message of `length` bytes whose last, incomplete block is `rest`: writes 1 or 2 blocks, returns how many. */
size_t cosx_md5_padding(uint8_t out[2 * COSX_MD5_BLOCK], const uint8_t *rest, uint64_t length);
void cosx_md5_output(const uint32_t state[4], uint8_t out[16]);
void cosx_md5_lanes_scalar1(uint32_t *state, const uint8_t *const *data, size_t blocks);

/* crc64_table.c */
uint64_t cosx_crc64_table(uint64_t crc, const uint8_t *data, size_t size);

#endif
