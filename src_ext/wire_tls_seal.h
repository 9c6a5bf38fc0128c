/* TLS 1.3 records for sending, made here instead of in OpenSSL's SSL_write: encrypted straight from the body
 * into one buffer, and eight of them sent with one system call. The cipher is OpenSSL's, or gcm_vaes where that is faster. Calls no other file of the wire. */
#ifndef WIRE_TLS_SEAL_H
#define WIRE_TLS_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_RECORD_BYTES (16 * 1024) /* the largest TLS record */

/* What reading and writing over TLS returns instead of a number of bytes. CUT: the peer closed the connection without
 * close_notify. */
enum { WIRE_IO_END = 0, WIRE_IO_WANT_READ = -1, WIRE_IO_WANT_WRITE = -2, WIRE_IO_ERROR = -3, WIRE_IO_CUT = -4 };

/* What `write` needs as its scratch memory. */
#define WIRE_SEAL_BYTES (8 * (WIRE_RECORD_BYTES + 64) + 64)

/* Sets the pointer at `function` to the function `name` of `library` (of dlopen); returns whether there is one. */
int wire_tls_seal_find(void *library, void *function, const char *name);
/* Looks up functions of the OpenSSL in `library` (of dlopen). -1: one is missing, or all cryptography has to come from
 * OpenSSL (FIPS); then nothing is sealed here. */
int wire_tls_seal_load(void *library, unsigned long version);
/* Whether sessions are taken from now on, and whether they may use gcm_vaes; for tests and comparisons. */
void wire_tls_seal_allow(int allowed, int own_cipher);
/* Changes the keys after so many records; RFC 8446 allows 2^24.5. */
void wire_tls_seal_set_records_per_key(uint64_t records);
/* Before the handshake: keeps the secret of this session when OpenSSL tells it. Without effect if somebody logs keys. */
void wire_tls_seal_prepare(void *session);
/* After the handshake, before the first write: takes the session's sending. From then on OpenSSL must write nothing, and
 * cannot. NULL if it stays with OpenSSL: another version than 1.3, another cipher than AES-GCM, no secret. What is returned
 * belongs to the session. */
void *wire_tls_seal_take(void *session);
/* The session of what `wire_tls_seal_take` has returned. */
void *wire_tls_seal_session(void *sealed);
/* To be called after a read. If the peer has asked for new keys, the next write changes them. */
void wire_tls_seal_heed(void *sealed);
/* Like `write` of `wire_tls_ops`. Bytes count as written when all of their record was. */
ssize_t wire_tls_seal_write(void *sealed, const void *data, size_t length, char *scratch, char *why, size_t why_size);

#endif
