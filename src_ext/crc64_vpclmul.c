/* CRC-64/XZ by VPCLMULQDQ on 512-bit registers: four accumulators of 64 bytes. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

#define INLINE __attribute__((target("avx512f,avx512vl,vpclmulqdq,pclmul"), always_inline)) static inline

INLINE __m512i fold(__m512i acc, __m512i by, __m512i next)
{
    __m512i low = _mm512_clmulepi64_epi128(acc, by, 0x00), high = _mm512_clmulepi64_epi128(acc, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

INLINE __m512i constant(const cosx_crc64_factor *by)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)by));
}

INLINE __m128i fold16(__m128i acc, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(acc, by, 0x00), high = _mm_clmulepi64_si128(acc, by, 0x11);
    return _mm_ternarylogic_epi64(low, high, next, 0x96);
}

__attribute__((target("avx512f,avx512vl,vpclmulqdq,pclmul"))) uint64_t
cosx_crc64_vpclmul(uint64_t crc, const uint8_t *data, size_t size)
{
    if (size < 512)
        return cosx_crc64_pclmul(crc, data, size);
    const __m512i by256 = constant(&cosx_crc64_fold_256), by64 = constant(&cosx_crc64_fold_64);
    const __m128i by16 = _mm_loadu_si128((const __m128i *)&cosx_crc64_fold_16);
    __m512i v0 = _mm512_loadu_si512(data), v1 = _mm512_loadu_si512(data + 64);
    __m512i v2 = _mm512_loadu_si512(data + 128), v3 = _mm512_loadu_si512(data + 192);
    v0 = _mm512_xor_si512(v0, _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)~crc)));
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
        v0 = fold(v0, by256, _mm512_loadu_si512(data));
        v1 = fold(v1, by256, _mm512_loadu_si512(data + 64));
        v2 = fold(v2, by256, _mm512_loadu_si512(data + 128));
        v3 = fold(v3, by256, _mm512_loadu_si512(data + 192));
    }
    v0 = fold(v0, by64, v1);
    v0 = fold(v0, by64, v2);
    v0 = fold(v0, by64, v3);
    for (; size >= 64; data += 64, size -= 64)
        v0 = fold(v0, by64, _mm512_loadu_si512(data));
    __m128i acc = _mm512_castsi512_si128(v0);
    acc = fold16(acc, by16, _mm512_extracti32x4_epi32(v0, 1));
    acc = fold16(acc, by16, _mm512_extracti32x4_epi32(v0, 2));
    acc = fold16(acc, by16, _mm512_extracti32x4_epi32(v0, 3));
    for (; size >= 16; data += 16, size -= 16)
        acc = fold16(acc, by16, _mm_loadu_si128((const __m128i *)data));
    uint8_t last[16];
    _mm_storeu_si128((__m128i *)last, acc);
    return ~cosx_crc64_remainder(cosx_crc64_remainder(0, last, 16), data, size);
}

#endif
