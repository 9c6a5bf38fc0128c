/* Which kernels this machine can run, and which one is in use. The compiler's CPU test also asks the operating
 * system whether it saves the wide registers. */
#include <string.h>

#include "kernels.h"

static int always(void)
{
    return 1;
}

static const cosx_kernel kernels[] = {
    {"scalar", always, {{1, cosx_md5_lanes_scalar1}}, cosx_crc64_table},
};

#define COUNT (sizeof kernels / sizeof kernels[0])

const cosx_kernel *cosx_kernel_in_use = &kernels[COUNT - 1];
unsigned cosx_lane_limit = COSX_MAX_LANES;

__attribute__((constructor)) static void choose(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
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
