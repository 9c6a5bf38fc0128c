/* CRC-64/XZ by PCLMULQDQ: eight accumulators of 16 bytes. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

#define INLINE __attribute__((target("pclmul,sse4.1"), always_inline)) static inline

INLINE __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m128i fold(__m128i acc, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(acc, by, 0x00), high = _mm_clmulepi64_si128(acc, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

INLINE __m128i constant(const cosx_crc64_factor *by)
{
    return _mm_loadu_si128((const __m128i *)by);
}

__attribute__((target("pclmul,sse4.1"))) uint64_t cosx_crc64_pclmul(uint64_t crc, const uint8_t *data, size_t size)
{
    const __m128i by16 = constant(&cosx_crc64_fold_16);
    __m128i acc;
    uint8_t last[16];
    if (size < 32)
        return cosx_crc64_table(crc, data, size);
    const __m128i start = _mm_cvtsi64_si128((long long)~crc);
    if (size >= 256) {
        const __m128i by128 = constant(&cosx_crc64_fold_128);
        __m128i v[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            v[i] = load(data + 16 * i);
        v[0] = _mm_xor_si128(v[0], start);
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
        acc = _mm_xor_si128(load(data), start);
        data += 16;
        size -= 16;
    }
    for (; size >= 16; data += 16, size -= 16)
        acc = fold(acc, by16, load(data));
    _mm_storeu_si128((__m128i *)last, acc);
    return ~cosx_crc64_remainder(cosx_crc64_remainder(0, last, 16), data, size);
}

#endif
