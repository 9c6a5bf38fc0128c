/* AES-GCM for TLS 1.3 records, with the instructions VAES and VPCLMULQDQ on 512-bit registers. OpenSSL has such code from
 * 3.1 on; 3.0, of Debian 12 and Ubuntu 22.04 and 24.04, encrypts at less than half of this speed. */
#ifndef COSX_GCM_VAES_H
#define COSX_GCM_VAES_H

#include <stddef.h>
#include <stdint.h>

#define COSX_GCM_TAG_BYTES 16
#define COSX_GCM_HEAD_BYTES 5

typedef struct {
    uint8_t powers[32][16] __attribute__((aligned(64))); /* H^32 to H^1 */
    uint8_t round_keys[15][16] __attribute__((aligned(64)));
    int rounds;
} cosx_gcm_key;

/* Whether this machine has the instructions. The other functions need them. */
int cosx_gcm_usable(void);
/* `key` has 16 or 32 bytes. */
void cosx_gcm_init(cosx_gcm_key *k, const uint8_t *key, size_t key_bytes);
/* Encrypts `data` followed by the byte `type`, and appends the tag: length + 17 bytes in `out`. The record's head is the
 * additional data. */
void cosx_gcm_seal(const cosx_gcm_key *k, const uint8_t nonce[12], const uint8_t head[COSX_GCM_HEAD_BYTES],
                   const uint8_t *data, size_t length, uint8_t type, uint8_t *out);

#endif
