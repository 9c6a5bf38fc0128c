/* CRC-64/XZ by tables, and the arithmetic of combining.
 *
 * A CRC is the remainder of the message, read as a polynomial over GF(2), by P. Reflected: bit 63 of a word is x^0.
 * Slicing: table[k][v] is the remainder of byte v followed by k zero bytes, so eight bytes cost eight independent
 * look-ups instead of a chain of eight. */
#include <string.h>

#include "kernels.h"

#define POLYNOMIAL UINT64_C(0xc96c5795d7870f42) /* ECMA-182, reflected */
#define SLICES 16

cosx_crc64_factor cosx_crc64_fold_16, cosx_crc64_fold_32, cosx_crc64_fold_64, cosx_crc64_fold_128, cosx_crc64_fold_256;

static uint64_t table[SLICES][256];
static uint64_t power[64]; /* power[i] = x^(8 * 2^i) mod P */

/* a * b mod P, both reflected. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (; a; a <<= 1) {
        product ^= b & (0 - (a >> 63));
        b = (b >> 1) ^ (POLYNOMIAL & (0 - (b & 1)));
    }
    return product;
}

static cosx_crc64_factor fold_over(unsigned bytes)
{
    cosx_crc64_factor fold;
    uint64_t value = UINT64_C(1) << 63; /* x^0 */
    for (unsigned i = 0; i < 8 * bytes + 63; i++) {
        if (i == 8 * bytes - 1)
            fold.high = value;
        value = (value >> 1) ^ (POLYNOMIAL & (0 - (value & 1)));
    }
    fold.low = value;
    return fold;
}

__attribute__((constructor)) static void fill_tables(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t crc = v;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (POLYNOMIAL & (0 - (crc & 1)));
        table[0][v] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (unsigned v = 0; v < 256; v++)
            table[slice][v] = (table[slice - 1][v] >> 8) ^ table[0][table[slice - 1][v] & 0xff];
    power[0] = UINT64_C(1) << (63 - 8);
    for (int i = 1; i < 64; i++)
        power[i] = multiply(power[i - 1], power[i - 1]);
    cosx_crc64_fold_16 = fold_over(16);
    cosx_crc64_fold_32 = fold_over(32);
    cosx_crc64_fold_64 = fold_over(64);
    cosx_crc64_fold_128 = fold_over(128);
    cosx_crc64_fold_256 = fold_over(256);
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint64_t eight(uint64_t v, int slice)
{
    return table[slice + 7][v & 0xff] ^ table[slice + 6][(v >> 8) & 0xff] ^ table[slice + 5][(v >> 16) & 0xff] ^
           table[slice + 4][(v >> 24) & 0xff] ^ table[slice + 3][(v >> 32) & 0xff] ^
           table[slice + 2][(v >> 40) & 0xff] ^ table[slice + 1][(v >> 48) & 0xff] ^ table[slice][v >> 56];
}

uint64_t cosx_crc64_remainder(uint64_t crc, const uint8_t *data, size_t size)
{
    for (; size >= 16; size -= 16, data += 16)
        crc = eight(crc ^ load64(data), 8) ^ eight(load64(data + 8), 0);
    for (; size; size--, data++)
        crc = (crc >> 8) ^ table[0][(crc ^ *data) & 0xff];
    return crc;
}

uint64_t cosx_crc64_table(uint64_t crc, const uint8_t *data, size_t size)
{
    return ~cosx_crc64_remainder(~crc, data, size);
}

uint64_t cosx_crc64_combine(uint64_t crc1, uint64_t crc2, uint64_t size2)
{
    /* The inversions in and out cancel: crc(AB) = crc(A) * x^(8 * size2) + crc(B). */
    for (int i = 0; size2; i++, size2 >>= 1)
        if (size2 & 1)
            crc1 = multiply(power[i], crc1);
    return crc1 ^ crc2;
}
