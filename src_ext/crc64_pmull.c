/* CRC-64/XZ by PMULL (aarch64 with the crypto extension): eight accumulators of 16 bytes, as in crc64_pclmul.c. */
#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>

#include "kernels.h"

#define TARGET __attribute__((target("+crypto")))
#define INLINE TARGET __attribute__((always_inline)) static inline

typedef uint64x2_t word;

INLINE word load(const uint8_t *p)
{
    return vreinterpretq_u64_u8(vld1q_u8(p));
}

INLINE word fold(word acc, cosx_crc64_factor by, word next)
{
    word low = vreinterpretq_u64_p128(vmull_p64((poly64_t)vgetq_lane_u64(acc, 0), (poly64_t)by.low));
    word high = vreinterpretq_u64_p128(vmull_p64((poly64_t)vgetq_lane_u64(acc, 1), (poly64_t)by.high));
    return veorq_u64(veorq_u64(low, high), next);
}

TARGET uint64_t cosx_crc64_pmull(uint64_t crc, const uint8_t *data, size_t size)
{
    const cosx_crc64_factor by16 = cosx_crc64_fold_16;
    word acc;
    uint8_t last[16];
    if (size < 32)
        return cosx_crc64_table(crc, data, size);
    const word start = vcombine_u64(vcreate_u64(~crc), vcreate_u64(0));
    if (size >= 256) {
        const cosx_crc64_factor by128 = cosx_crc64_fold_128;
        word v[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            v[i] = load(data + 16 * i);
        v[0] = veorq_u64(v[0], start);
        for (data += 128, size -= 128; size >= 128; data += 128, size -= 128) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                v[i] = fold(v[i], by128, load(data + 16 * i));
        }
        acc = v[0];
#pragma GCC unroll 8
        for (int i = 1; i < 8; i++)
            acc = fold(acc, by16, v[i]);
    } else {
        acc = veorq_u64(load(data), start);
        data += 16;
        size -= 16;
    }
    for (; size >= 16; data += 16, size -= 16)
        acc = fold(acc, by16, load(data));
    vst1q_u8(last, vreinterpretq_u8_u64(acc));
    return ~cosx_crc64_remainder(cosx_crc64_remainder(0, last, 16), data, size);
}

#endif
