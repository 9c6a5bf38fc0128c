/* CRC-64/XZ by VPCLMULQDQ on 256-bit registers, for processors without AVX-512: eight accumulators of 32 bytes. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

#define INLINE __attribute__((target("avx2,vpclmulqdq,pclmul"), always_inline)) static inline

INLINE __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m256i fold(__m256i acc, __m256i by, __m256i next)
{
    __m256i low = _mm256_clmulepi64_epi128(acc, by, 0x00), high = _mm256_clmulepi64_epi128(acc, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), next);
}

INLINE __m256i constant(const cosx_crc64_factor *by)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)by));
}

INLINE __m128i fold16(__m128i acc, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(acc, by, 0x00), high = _mm_clmulepi64_si128(acc, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

__attribute__((target("avx2,vpclmulqdq,pclmul"))) uint64_t
cosx_crc64_vpclmul256(uint64_t crc, const uint8_t *data, size_t size)
{
    if (size < 512)
        return cosx_crc64_pclmul(crc, data, size);
    const __m256i by256 = constant(&cosx_crc64_fold_256), by32 = constant(&cosx_crc64_fold_32);
    const __m128i by16 = _mm_loadu_si128((const __m128i *)&cosx_crc64_fold_16);
    __m256i v[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        v[i] = load(data + 32 * i);
    v[0] = _mm256_xor_si256(v[0], _mm256_zextsi128_si256(_mm_cvtsi64_si128((long long)~crc)));
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            v[i] = fold(v[i], by256, load(data + 32 * i));
    }
    __m256i both = v[0];
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++)
        both = fold(both, by32, v[i]);
    for (; size >= 32; data += 32, size -= 32)
        both = fold(both, by32, load(data));
    __m128i acc = fold16(_mm256_castsi256_si128(both), by16, _mm256_extracti128_si256(both, 1));
    if (size >= 16) {
        acc = fold16(acc, by16, _mm_loadu_si128((const __m128i *)data));
        data += 16;
        size -= 16;
    }
    uint8_t last[16];
    _mm_storeu_si128((__m128i *)last, acc);
    return ~cosx_crc64_remainder(cosx_crc64_remainder(0, last, 16), data, size);
}

#endif
