/* TLS: finds the session inside Python's ssl objects and drives it with Python's own OpenSSL, without the GIL.
 * Calls wire_tls_seal. */
#ifndef WIRE_TLS_H
#define WIRE_TLS_H

#include "wire_tls_seal.h"

/* How to drive a TLS session. `read` and `write` return a number of bytes or one of WIRE_IO. `scratch` has
 * WIRE_SEAL_BYTES. After WANT_WRITE, or if fewer bytes than given were written, the next write begins with the same
 * ones. */
typedef struct {
    ssize_t (*read)(void *tls, void *buffer, size_t length, char *why, size_t why_size);
    ssize_t (*write)(void *tls, const void *data, size_t length, char *scratch, char *why, size_t why_size);
} wire_tls_ops;
/* Looks up the OpenSSL that `module` (the file of Python's _ssl) is linked with. -1: not found, or another version. */
int wire_tls_load(const char *module, unsigned long version);
/* Whether `session` belongs to that OpenSSL and uses `fd`. */
int wire_tls_usable(void *session, int fd);
/* Before the handshake: sets the protocols for ALPN, in wire format. -1: no memory. `seals`: records may be made in
 * wire_tls_seal, because OpenSSL will have nothing of its own to send after the handshake. */
int wire_tls_offer(void *session, const unsigned char *protocols, unsigned length, int seals);
/* Before the handshake: sets the cipher suites of TLS 1.3, in order ("A:B"). Without effect if OpenSSL refuses them. */
void wire_tls_prefer(void *session, const char *suites);
/* Prepares the session for use without the GIL, after the handshake. Returns its functions and sets what they take. */
const wire_tls_ops *wire_tls_take(void **session);
/* An I/O thread must not be inside OpenSSL while OpenSSL frees its tables at the end of the process, and not after it.
 * Call `begin` when there is a session, and the other two around each use of one. After the process has begun to end,
 * `enter` does not return; for a thread that has the GIL (`through_python`) it returns 0, and the thread must stay out. */
void wire_tls_begin(void);
int wire_tls_enter(int through_python);
void wire_tls_leave(int through_python);

#endif
