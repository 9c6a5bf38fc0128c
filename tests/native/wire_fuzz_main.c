/* Replaces libFuzzer if there is no clang: calls the target with damaged seeds, without guidance by coverage. Usage:
 * PROGRAM FOLDER SECONDS. An input that crashes the process stays in FOLDER/last. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEEDS 256
#define LONGEST 1024
static struct {
    uint8_t data[LONGEST];
    size_t length;
} seeds[SEEDS];

static uint64_t state = 88172645463325252u;
static unsigned chance(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 11) % below;
}

int main(int count, char **arguments)
{
    char path[4096];
    unsigned known = 0;
    unsigned long runs = 0;
    DIR *folder = count == 3 ? opendir(arguments[1]) : NULL;
    if (!folder)
        return 2;
    for (struct dirent *entry; (entry = readdir(folder)) && known < SEEDS;) {
        snprintf(path, sizeof path, "%s/%s", arguments[1], entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        seeds[known].length = fread(seeds[known].data, 1, LONGEST / 2, file);
        known += seeds[known].length > 0;
        fclose(file);
    }
    closedir(folder);
    snprintf(path, sizeof path, "%s/last", arguments[1]);
    for (time_t end = time(NULL) + atoi(arguments[2]); known && time(NULL) < end; runs++) {
        uint8_t input[LONGEST];
        unsigned seed = chance(known);
        size_t length = seeds[seed].length;
        memcpy(input, seeds[seed].data, length);
        for (unsigned change = chance(6); change; change--) {
            size_t at = chance((unsigned)length), n = 1 + chance(16);
            if (n > length - at)
                n = length - at;
            switch (chance(3)) {
            case 0:
                input[at] = (uint8_t)chance(256);
                break;
            case 1:
                if (length > n) {
                    memmove(input + at, input + at + n, length - at - n);
                    length -= n;
                }
                break;
            default: { /* insert a part of another seed */
                unsigned other = chance(known);
                size_t from = chance((unsigned)seeds[other].length);
                if (n > seeds[other].length - from)
                    n = seeds[other].length - from;
                if (length + n > LONGEST)
                    break;
                memmove(input + at + n, input + at, length - at);
                memcpy(input + at, seeds[other].data + from, n);
                length += n;
            }
            }
        }
        FILE *last = fopen(path, "wb");
        if (!last || fwrite(input, 1, length, last) != length || fclose(last))
            return 2;
        LLVMFuzzerTestOneInput(input, length);
    }
    remove(path);
    printf("ok: %lu runs from %u seeds, unguided\n", runs, known);
    return known ? 0 : 2;
}
