/* MD5 and CRC-64/XZ for whole streams, and the kernels that the machine can run.
 *
 * Sizes are bytes unless a name says blocks; a block is 64 bytes of MD5 input. Nothing here allocates, and
 * nothing reads past data + size.
 */
#ifndef COSX_DIGEST_H
#define COSX_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define COSX_MD5_BLOCK 64

/* One MD5 stream (RFC 1321). `tail` holds the last `length % 64` bytes. */
typedef struct {
    uint32_t state[4];
    uint64_t length;
    uint8_t tail[COSX_MD5_BLOCK];
} cosx_md5;

void cosx_md5_init(cosx_md5 *md5);
void cosx_md5_update(cosx_md5 *md5, const uint8_t *data, size_t size);
/* Does not change the stream, which may be updated further. */
void cosx_md5_digest(const cosx_md5 *md5, uint8_t out[16]);

/* CRC-64/XZ (ECMA-182 polynomial, reflected, inverted in and out) of the bytes whose CRC is `crc`, followed by `data`.
 * 0 is the CRC of no bytes. */
uint64_t cosx_crc64(uint64_t crc, const uint8_t *data, size_t size);
/* The CRC of A followed by B from crc(A), crc(B) and the length of B: O(log size2). */
uint64_t cosx_crc64_combine(uint64_t crc1, uint64_t crc2, uint64_t size2);

/* Computes both digests of `data`; how another extension calls this one. */
typedef void (*cosx_digest_function)(const uint8_t *data, uint64_t size, uint8_t md5[16], uint64_t *crc64);

/* The names of the kernels that this machine can run, best first; NULL after the last one. */
const char *cosx_kernel_name(size_t index);
/* Uses the kernel of that name from now on. 0, or -1 if the machine cannot run it (nothing changes). */
int cosx_kernel_use(const char *name);
const char *cosx_kernel_current(void);
/* The number of MD5 lanes in the widest form of the kernel in use. */
unsigned cosx_kernel_lanes(void);
/* Limits the lanes of one thread (benchmarks compare widths); 0 removes the limit. */
void cosx_kernel_limit_lanes(unsigned lanes);

#endif
