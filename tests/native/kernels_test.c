/* Every kernel of this machine, against a simple RFC 1321 and a bitwise CRC. A separate program, so that kernels for other
 * processors can run under emulation (.ci/deep/aarch64.sh). */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels.h"
#include "lanes.h"

#define LARGEST 20000
#define MANY 100

static uint8_t noise[LARGEST + MANY];

static void plain_md5(const uint8_t *data, size_t size, uint8_t out[16])
{
    static const int shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    static uint8_t message[LARGEST + 128];
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t total = (size + 8) / 64 * 64 + 64;
    memset(message, 0, total);
    memcpy(message, data, size);
    message[size] = 0x80;
    for (int i = 0; i < 8; i++)
        message[total - 8 + i] = (uint8_t)((uint64_t)size * 8 >> (8 * i));
    for (size_t at = 0; at < total; at += 64) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        for (unsigned i = 0; i < 64; i++) {
            uint32_t f, g, word;
            switch (i / 16) {
            case 0: f = (b & c) | (~b & d); g = i; break;
            case 1: f = (b & d) | (c & ~d); g = (5 * i + 1) % 16; break;
            case 2: f = b ^ c ^ d; g = (3 * i + 5) % 16; break;
            default: f = c ^ (b | ~d); g = 7 * i % 16;
            }
            const uint8_t *p = message + at + 4 * g;
            word = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
            f += a + word + (uint32_t)(int64_t)(fabs(sin(i + 1)) * 4294967296.0);
            a = d;
            d = c;
            c = b;
            b += f << shifts[i / 16][i % 4] | f >> (32 - shifts[i / 16][i % 4]);
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
    }
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)(state[i / 4] >> (8 * (i % 4)));
}

static uint64_t plain_crc(const uint8_t *data, size_t size)
{
    uint64_t crc = ~UINT64_C(0);
    for (; size; size--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT64_C(0xc96c5795d7870f42) : crc >> 1;
    }
    return ~crc;
}

/* Memory for `size` bytes, directly before an unreadable page. */
static uint8_t *before_a_wall(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
    uint8_t *start = mmap(NULL, inner + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + inner, page, PROT_NONE))
        abort();
    return start + inner - size;
}

static void check(int good, const char *what, const char *kernel, size_t size)
{
    if (!good) {
        printf("FAILED: %s, kernel %s, %zu bytes\n", what, kernel, size);
        exit(1);
    }
}

/* Hashes parts of these sizes together; every other part is chained into one stream. */
static void run_set(const char *kernel, const size_t *sizes, size_t count, unsigned threads, uint64_t round)
{
    static uint8_t all[MANY * LARGEST];
    cosx_part parts[MANY];
    cosx_job jobs[MANY];
    cosx_worker *workers[4];
    cosx_md5 stream, expected;
    cosx_part *last = NULL;
    memset(parts, 0, sizeof parts);
    cosx_md5_init(&stream);
    size_t streamed = 0;
    cosx_queue queue = {.jobs = jobs, .crc64 = 1, .streams = 1};
    for (size_t i = 0; i < count; i++) {
        uint8_t *data = before_a_wall(sizes[i]);
        memcpy(data, noise + i, sizes[i]);
        parts[i].data = data;
        parts[i].size = sizes[i];
        if (i % 2 == 0) {
            memcpy(all + streamed, data, sizes[i]);
            streamed += sizes[i];
        }
        if (i % 2 || last == NULL)
            jobs[queue.count++] = (cosx_job){&parts[i], i % 2 ? NULL : &stream};
        if (i % 2 == 0) {
            if (last)
                last->next = &parts[i];
            last = &parts[i];
        }
    }
    for (unsigned t = 0; t < threads; t++)
        workers[t] = cosx_worker_new(&queue, threads);
    while (cosx_workers_run(workers, threads, round))
        ;
    for (unsigned t = 0; t < threads; t++)
        cosx_worker_free(workers[t]);
    for (size_t i = 0; i < count; i++) {
        uint8_t digest[16];
        plain_md5(parts[i].data, sizes[i], digest);
        check(memcmp(digest, parts[i].md5, 16) == 0, "MD5 of a part", kernel, sizes[i]);
        check(parts[i].crc == plain_crc(parts[i].data, sizes[i]), "CRC of a part", kernel, sizes[i]);
        check(parts[i].position == sizes[i], "position", kernel, sizes[i]);
        size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (sizes[i] + page - 1) / page * page;
        munmap((uint8_t *)parts[i].data + sizes[i] - inner, inner + page);
    }
    uint8_t one[16], other[16];
    cosx_md5_init(&expected);
    cosx_md5_update(&expected, all, streamed);
    cosx_md5_digest(&expected, one);
    cosx_md5_digest(&stream, other);
    check(memcmp(one, other, 16) == 0, "MD5 of a stream", kernel, streamed);
}

int main(void)
{
    static const size_t edges[] = {511,  512,  513,  1023, 1024, 1025, 2047, 2048, 2049, 2303,
                                   2304, 4095, 4096, 4097, 8191, 8192, 8193, 16384, 19999};
    size_t sizes[MANY];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
    for (size_t k = 0; cosx_kernel_name(k); k++) {
        const char *kernel = cosx_kernel_name(k);
        check(cosx_kernel_use(kernel) == 0, "choice", kernel, 0);
        uint8_t *end = before_a_wall(LARGEST) + LARGEST;
        for (size_t i = 0; i < 301 + sizeof edges / sizeof edges[0]; i++) {
            size_t size = i < 301 ? i : edges[i - 301];
            uint8_t digest[16], got[16];
            cosx_md5 md5;
            memcpy(end - size, noise, size);
            cosx_md5_init(&md5);
            cosx_md5_update(&md5, end - size, size / 3);
            cosx_md5_update(&md5, end - size + size / 3, size - size / 3);
            cosx_md5_digest(&md5, got);
            plain_md5(noise, size, digest);
            check(memcmp(digest, got, 16) == 0, "MD5", kernel, size);
            uint64_t crc = plain_crc(noise, size), left = cosx_crc64(0, end - size, size / 3);
            uint64_t right = cosx_crc64(0, end - size + size / 3, size - size / 3);
            check(cosx_crc64(0, end - size, size) == crc, "CRC", kernel, size);
            check(cosx_crc64(left, end - size + size / 3, size - size / 3) == crc, "chained CRC", kernel, size);
            check(cosx_crc64_combine(left, right, size - size / 3) == crc, "combined CRC", kernel, size);
        }
        for (size_t count = 0; count <= MANY; count += count < 36 ? 1 : 16) {
            for (size_t i = 0; i < count; i++)
                sizes[i] = count % 3 == 0 ? 5000 : (random = random * 1664525 + 1013904223) % LARGEST;
            run_set(kernel, sizes, count, 1 + (unsigned)count % 3, count % 2 ? 1 << 30 : 30000);
        }
        printf("ok: %s, %u lanes\n", kernel, cosx_kernel_lanes());
    }
    return 0;
}
