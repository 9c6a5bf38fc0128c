/* Which kernels this machine can run, and which one is in use. The compiler's CPU test also checks whether the
 * operating system saves the wide registers. */
#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_PMULL
#define HWCAP_PMULL (1 << 4)
#endif
#endif

#include "kernels.h"

static int always(void)
{
    return 1;
}

#if defined(__x86_64__)
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
static int has_avx2_and_vpclmul(void)
{
    return has_avx2() && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("vpclmulqdq");
}
#endif

#define SCALAR {1, cosx_md5_scalar_1x1, NULL}, {2, cosx_md5_scalar_2x1, NULL}

/* Best first. The CRC needs its own instructions, which a processor may lack: see `choose`. */
static cosx_kernel kernels[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, 2, {SCALAR, {16, cosx_md5_avx512_1x16, cosx_fused_avx512_1x16},
                               {32, cosx_md5_avx512_2x16, cosx_fused_avx512_2x16}}, cosx_crc64_table, 0},
    {"avx2-vpclmul", has_avx2_and_vpclmul, 2,
     {SCALAR, {8, cosx_md5_avx2_1x8, cosx_fused_avx2_1x8}, {16, cosx_md5_avx2_2x8, cosx_fused_avx2_2x8},
      {24, cosx_md5_avx2_3x8, cosx_fused_avx2_3x8}}, /* a round of 32 lanes and its CRC would not fit into L1 */
     cosx_crc64_table, 0},
    {"avx2", has_avx2, 2, {SCALAR, {8, cosx_md5_avx2_1x8, NULL}, {16, cosx_md5_avx2_2x8, NULL},
                           {24, cosx_md5_avx2_3x8, NULL}, {32, cosx_md5_avx2_4x8, NULL}}, cosx_crc64_table, 0},
#endif
#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    {"neon", always, 2, {SCALAR, {4, cosx_md5_neon_1x4, NULL}, {8, cosx_md5_neon_2x4, NULL},
                         {16, cosx_md5_neon_4x4, NULL}}, cosx_crc64_table, 0},
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    {"portable", always, 2, {SCALAR, {8, cosx_md5_portable_2x4, NULL}, {12, cosx_md5_portable_3x4, NULL},
                             {16, cosx_md5_portable_4x4, NULL}}, cosx_crc64_table, 0},
#endif
    {"scalar", always, 2, {SCALAR}, cosx_crc64_table, 0},
};

#define COUNT (sizeof kernels / sizeof kernels[0])

const cosx_kernel *cosx_kernel_in_use = &kernels[COUNT - 1];
unsigned cosx_lane_limit = COSX_MAX_LANES;

__attribute__((constructor)) static void choose(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
#endif
#if defined(__x86_64__)
    if (__builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        kernels[0].crc64 = kernels[2].crc64 = kernels[3].crc64 = cosx_crc64_pclmul; /* all but scalar */
        if (__builtin_cpu_supports("vpclmulqdq")) {
            kernels[0].crc64 = cosx_crc64_vpclmul;
            kernels[1].crc64 = cosx_crc64_vpclmul256;
            kernels[0].fused = kernels[1].fused = 1;
        }
    }
#endif
#if defined(__aarch64__) && defined(__linux__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (getauxval(AT_HWCAP) & HWCAP_PMULL)
        kernels[0].crc64 = kernels[1].crc64 = cosx_crc64_pmull;
#elif defined(__aarch64__) && defined(__APPLE__)
    kernels[0].crc64 = kernels[1].crc64 = cosx_crc64_pmull;
#endif
    cosx_kernel_use(cosx_kernel_name(0));
}

const char *cosx_kernel_name(size_t index)
{
    for (size_t i = 0; i < COUNT; i++)
        if (kernels[i].available() && index-- == 0)
            return kernels[i].name;
    return NULL;
}

int cosx_kernel_use(const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(kernels[i].name, name) == 0 && kernels[i].available()) {
            cosx_kernel_in_use = &kernels[i];
            return 0;
        }
    }
    return -1;
}

const char *cosx_kernel_current(void)
{
    return cosx_kernel_in_use->name;
}

unsigned cosx_kernel_lanes(void)
{
    unsigned lanes = 1;
    for (const cosx_md5_width *w = cosx_kernel_in_use->widths; w->lanes; w++)
        lanes = w->lanes;
    return lanes;
}

void cosx_kernel_limit_lanes(unsigned lanes)
{
    cosx_lane_limit = lanes && lanes < COSX_MAX_LANES ? lanes : COSX_MAX_LANES;
}

uint64_t cosx_crc64(uint64_t crc, const uint8_t *data, size_t size)
{
    return cosx_kernel_in_use->crc64(crc, data, size);
}
