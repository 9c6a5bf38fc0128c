/* See RFC 8446: 5.2 the record, 5.3 the nonce, 5.5 how much one key may encrypt, 7.1 to 7.3 the keys.
 *
 * The secret comes from OpenSSL's callback for key logs, the one way to get it. It stays in the session's memory and is
 * wiped with it. OpenSSL must not encrypt with the same keys (a nonce would be used twice), so what it writes goes to a
 * buffer that nobody sends: the answer to a request for new keys, which this file gives itself, and alerts before the
 * connection ends. */
#include "wire_tls_seal.h"

#include "gcm_vaes.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Constants of OpenSSL's stable interface. */
#define TLS1_3 0x0304
#define AES_128_GCM_SHA256 0x03001301u
#define AES_256_GCM_SHA384 0x03001302u
#define INDEX_OF_SESSIONS 0 /* CRYPTO_EX_INDEX_SSL */
#define GET_TAG 0x10        /* EVP_CTRL_AEAD_GET_TAG */
#define FAST_OPENSSL 0x30100000ul /* the first one with VAES */
#define NO_KEY_UPDATE (-1)        /* SSL_KEY_UPDATE_NONE */
#define BIO_RESET 1
#define BIO_PENDING 10

#define GROUP_RECORDS 8
#define HEAD_BYTES 5
#define TAG_BYTES 16
#define OVERHEAD_BYTES (HEAD_BYTES + 1 + TAG_BYTES)
#define NONCE_BYTES 12
#define MOST_SECRET_BYTES 48
#define KEY_UPDATE_BYTES 5

enum { HANDSHAKE = 22, APPLICATION_DATA = 23, KEY_UPDATE = 24 };

/* One key may encrypt 2^24.5 records. */
static atomic_ullong records_per_key = 1 << 24;

typedef struct {
    cosx_gcm_key own; /* used instead of `cipher` if it has rounds */
    void *session, *cipher, *discarded; /* `discarded` holds what OpenSSL writes */
    int fd, suite;
    uint8_t secret[MOST_SECRET_BYTES], nonce[NONCE_BYTES];
    size_t secret_bytes;
    uint64_t sequence;
    int renew; /* change the keys before the next record */
    int due;   /* OpenSSL will write its answer to a request for new keys at one of the next reads */
    int error; /* of the socket, or -1: of the cipher */
    /* The group that is being sent: `lead` bytes of other records, then records of `plain` bytes of data. */
    char *kept; /* its unsent bytes, between two writes */
    size_t length, sent, lead, plain, counted;
} sealed;

typedef void key_log(const void *session, const char *line);

static struct {
    int (*version)(const void *session);
    const void *(*current_cipher)(const void *session);
    uint32_t (*cipher_id)(const void *cipher);
    void *(*context_of)(const void *session);
    key_log *(*get_key_log)(const void *context);
    void (*set_key_log)(void *context, key_log *);
    int (*new_index)(int kind, long number, void *pointer, void *make, void *copy, void *release);
    int (*set_data)(void *session, int index, void *data);
    void *(*get_data)(const void *session, int index);
    int (*get_fd)(const void *session);
    int (*key_update)(const void *session);
    void (*set_write_bio)(void *session, void *bio);
    const void *(*memory_bio)(void);
    void *(*bio_new)(const void *kind);
    long (*bio_ctrl)(void *bio, int command, long number, void *pointer);
    void *(*cipher_new)(void);
    void (*cipher_free)(void *);
    const void *(*aes_128_gcm)(void), *(*aes_256_gcm)(void);
    const void *(*sha256)(void), *(*sha384)(void);
    int (*init)(void *, const void *kind, void *engine, const uint8_t *key, const uint8_t *nonce);
    int (*update)(void *, uint8_t *out, int *out_length, const uint8_t *in, int length);
    int (*final)(void *, uint8_t *out, int *out_length);
    int (*ctrl)(void *, int command, int number, void *pointer);
    uint8_t *(*hmac)(const void *digest, const void *key, int key_length, const uint8_t *data, size_t length, uint8_t *out,
                     unsigned *out_length);
    void (*wipe)(void *, size_t);
} openssl;

static int usable, slow, index_of_data = -1;
static atomic_int allowed = 1, own_allowed = 1;

/* POSIX allows a function's address in an object pointer; ISO C does not define it. */
int wire_tls_seal_find(void *library, void *function, const char *name)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* OpenSSL calls it when the session is freed. */
static void release(void *session, void *data, void *all, int index, long number, void *pointer)
{
    (void)session, (void)all, (void)index, (void)number, (void)pointer;
    sealed *s = data;
    if (!s)
        return;
    if (s->cipher)
        openssl.cipher_free(s->cipher);
    free(s->kept);
    openssl.wipe(s, sizeof *s);
    free(s);
}

/* Whether all cryptography has to come from OpenSSL's validated module. */
static int is_fips(void *library)
{
    int (*by_properties)(void *context), (*mode)(void);
    if (wire_tls_seal_find(library, &by_properties, "EVP_default_properties_is_fips_enabled"))
        return by_properties(NULL);
    return wire_tls_seal_find(library, &mode, "FIPS_mode") && mode();
}

int wire_tls_seal_load(void *library, unsigned long version)
{
    void (*free_data)(void *, void *, void *, int, long, void *) = release;
    void *pointer;
    if (usable)
        return 0;
    const struct {
        void *function;
        const char *name;
    } needed[] = {
        {&openssl.version, "SSL_version"},
        {&openssl.current_cipher, "SSL_get_current_cipher"},
        {&openssl.cipher_id, "SSL_CIPHER_get_id"},
        {&openssl.context_of, "SSL_get_SSL_CTX"},
        {&openssl.get_key_log, "SSL_CTX_get_keylog_callback"},
        {&openssl.set_key_log, "SSL_CTX_set_keylog_callback"},
        {&openssl.new_index, "CRYPTO_get_ex_new_index"},
        {&openssl.set_data, "SSL_set_ex_data"},
        {&openssl.get_data, "SSL_get_ex_data"},
        {&openssl.get_fd, "SSL_get_fd"},
        {&openssl.key_update, "SSL_get_key_update_type"},
        {&openssl.set_write_bio, "SSL_set0_wbio"},
        {&openssl.memory_bio, "BIO_s_mem"},
        {&openssl.bio_new, "BIO_new"},
        {&openssl.bio_ctrl, "BIO_ctrl"},
        {&openssl.cipher_new, "EVP_CIPHER_CTX_new"},
        {&openssl.cipher_free, "EVP_CIPHER_CTX_free"},
        {&openssl.aes_128_gcm, "EVP_aes_128_gcm"},
        {&openssl.aes_256_gcm, "EVP_aes_256_gcm"},
        {&openssl.sha256, "EVP_sha256"},
        {&openssl.sha384, "EVP_sha384"},
        {&openssl.init, "EVP_EncryptInit_ex"},
        {&openssl.update, "EVP_EncryptUpdate"},
        {&openssl.final, "EVP_EncryptFinal_ex"},
        {&openssl.ctrl, "EVP_CIPHER_CTX_ctrl"},
        {&openssl.hmac, "HMAC"},
        {&openssl.wipe, "OPENSSL_cleanse"},
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!wire_tls_seal_find(library, needed[i].function, needed[i].name))
            return -1;
    if (is_fips(library))
        return -1;
    slow = version < FAST_OPENSSL && cosx_gcm_usable();
    memcpy(&pointer, &free_data, sizeof pointer);
    index_of_data = openssl.new_index(INDEX_OF_SESSIONS, 0, NULL, NULL, NULL, pointer);
    usable = index_of_data >= 0;
    return usable ? 0 : -1;
}

void wire_tls_seal_allow(int yes, int own_cipher)
{
    atomic_store(&allowed, yes);
    atomic_store(&own_allowed, own_cipher);
}

void wire_tls_seal_set_records_per_key(uint64_t records)
{
    atomic_store(&records_per_key, records);
}

/* -- the secret -------------------------------------------------------------------------------------------------------- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A line is "LABEL CLIENT_RANDOM SECRET", both values in hexadecimal. */
static void keep_secret(const void *session, const char *line)
{
    static const char LABEL[] = "CLIENT_TRAFFIC_SECRET_0 ";
    sealed *s = openssl.get_data(session, index_of_data);
    if (!s || strncmp(line, LABEL, sizeof LABEL - 1) != 0)
        return;
    const char *hex = strchr(line + sizeof LABEL - 1, ' ');
    size_t length = 0;
    while (hex && length < MOST_SECRET_BYTES && digit(hex[1]) >= 0 && digit(hex[2]) >= 0) {
        s->secret[length++] = (uint8_t)(digit(hex[1]) << 4 | digit(hex[2]));
        hex += 2;
    }
    s->secret_bytes = length;
}

void wire_tls_seal_prepare(void *session)
{
    if (!usable || !atomic_load(&allowed))
        return;
    void *context = openssl.context_of(session);
    key_log *present = openssl.get_key_log(context);
    if (present && present != keep_secret)
        return; /* the caller's log of keys goes on */
    sealed *s;
    if (posix_memalign((void **)&s, 64, sizeof *s))
        return;
    memset(s, 0, sizeof *s);
    if (openssl.set_data(session, index_of_data, s) != 1) {
        free(s);
        return;
    }
    if (!present)
        openssl.set_key_log(context, keep_secret);
}

/* HKDF-Expand-Label without a context, for up to one block of the hash. */
static int expand(const sealed *s, const char *label, uint8_t *out, size_t length)
{
    uint8_t info[32] = {0, (uint8_t)length, (uint8_t)(6 + strlen(label)), 't', 'l', 's', '1', '3', ' '};
    uint8_t block[64];
    size_t used = 9 + strlen(label);
    unsigned size = 0;
    memcpy(info + 9, label, strlen(label));
    info[used++] = 0;
    info[used++] = 1;
    const void *digest = s->suite == 1 ? openssl.sha256() : openssl.sha384();
    int done = openssl.hmac(digest, s->secret, (int)s->secret_bytes, info, used, block, &size) && size >= length;
    if (done)
        memcpy(out, block, length);
    openssl.wipe(block, sizeof block);
    return done ? 0 : -1;
}

/* Sets the key and the nonce of the present secret. */
static int use_secret(sealed *s)
{
    uint8_t key[32];
    size_t key_bytes = s->suite == 1 ? 16 : 32;
    const void *kind = s->suite == 1 ? openssl.aes_128_gcm() : openssl.aes_256_gcm();
    int done = !expand(s, "key", key, key_bytes) && !expand(s, "iv", s->nonce, NONCE_BYTES) &&
               openssl.init(s->cipher, kind, NULL, key, NULL) == 1;
    if (done && slow && atomic_load(&own_allowed))
        cosx_gcm_init(&s->own, key, key_bytes);
    openssl.wipe(key, sizeof key);
    s->sequence = 0;
    s->renew = 0;
    return done ? 0 : -1;
}

void *wire_tls_seal_take(void *session)
{
    sealed *s = usable && atomic_load(&allowed) ? openssl.get_data(session, index_of_data) : NULL;
    if (!s || !s->secret_bytes || openssl.version(session) != TLS1_3)
        return NULL;
    const void *cipher = openssl.current_cipher(session);
    uint32_t id = cipher ? openssl.cipher_id(cipher) : 0;
    s->suite = id == AES_128_GCM_SHA256 ? 1 : id == AES_256_GCM_SHA384 ? 2 : 0;
    if (s->session || !s->suite || s->secret_bytes != (s->suite == 1 ? 32 : 48) || !(s->cipher = openssl.cipher_new()) ||
        use_secret(s) || !(s->discarded = openssl.bio_new(openssl.memory_bio())))
        return NULL;
    s->fd = openssl.get_fd(session);
    s->session = session;
    openssl.set_write_bio(session, s->discarded); /* the session frees it */
    return s;
}

void *wire_tls_seal_session(void *pointer)
{
    return ((sealed *)pointer)->session;
}

void wire_tls_seal_heed(void *pointer)
{
    sealed *s = pointer;
    int due = openssl.key_update(s->session) != NO_KEY_UPDATE;
    int written = openssl.bio_ctrl(s->discarded, BIO_PENDING, 0, NULL) > 0;
    if (written)
        openssl.bio_ctrl(s->discarded, BIO_RESET, 0, NULL);
    /* What is written may be the answer that was due before, and was given here. */
    if (written ? due || !s->due : due && !s->due)
        s->renew = 1;
    s->due = due;
}

/* -- records ----------------------------------------------------------------------------------------------------------- */

/* Writes one record to `out`; returns its end, or NULL. */
static uint8_t *record(sealed *s, uint8_t type, const uint8_t *data, size_t length, uint8_t *out)
{
    uint8_t nonce[NONCE_BYTES];
    size_t inside = length + 1 + TAG_BYTES;
    int n = 0;
    memcpy(nonce, s->nonce, NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        nonce[NONCE_BYTES - 1 - i] ^= (uint8_t)(s->sequence >> (8 * i));
    s->sequence++;
    out[0] = APPLICATION_DATA;
    out[1] = 3;
    out[2] = 3;
    out[3] = (uint8_t)(inside >> 8);
    out[4] = (uint8_t)inside;
    if (s->own.rounds) {
        cosx_gcm_seal(&s->own, nonce, out, data, length, type, out + HEAD_BYTES);
        return out + HEAD_BYTES + inside;
    }
    if (openssl.init(s->cipher, NULL, NULL, NULL, nonce) != 1 || openssl.update(s->cipher, NULL, &n, out, HEAD_BYTES) != 1)
        return NULL;
    out += HEAD_BYTES;
    if (openssl.update(s->cipher, out, &n, data, (int)length) != 1 ||
        openssl.update(s->cipher, out + length, &n, &type, 1) != 1 ||
        openssl.final(s->cipher, out + length + 1, &n) != 1 ||
        openssl.ctrl(s->cipher, GET_TAG, TAG_BYTES, out + length + 1) != 1)
        return NULL;
    return out + inside;
}

/* Tells the peer that new keys follow, and uses them. */
static uint8_t *change_keys(sealed *s, uint8_t *out)
{
    static const uint8_t MESSAGE[KEY_UPDATE_BYTES] = {KEY_UPDATE, 0, 0, 1, 0}; /* 0: the peer's keys may stay */
    uint8_t next[MOST_SECRET_BYTES];
    out = record(s, HANDSHAKE, MESSAGE, sizeof MESSAGE, out);
    if (!out || expand(s, "traffic upd", next, s->secret_bytes))
        return NULL;
    memcpy(s->secret, next, s->secret_bytes);
    openssl.wipe(next, sizeof next);
    return use_secret(s) ? NULL : out;
}

static int seal(sealed *s, const uint8_t *data, size_t length, uint8_t *out)
{
    uint8_t *end = out;
    if (length > GROUP_RECORDS * WIRE_RECORD_BYTES)
        length = GROUP_RECORDS * WIRE_RECORD_BYTES;
    if (s->renew || s->sequence >= atomic_load_explicit(&records_per_key, memory_order_relaxed))
        end = change_keys(s, end);
    s->lead = end ? (size_t)(end - out) : 0;
    for (size_t done = 0; end && done < length;) {
        size_t n = length - done < WIRE_RECORD_BYTES ? length - done : WIRE_RECORD_BYTES;
        end = record(s, APPLICATION_DATA, data + done, n, end);
        done += n;
    }
    if (!end)
        return -1;
    s->length = (size_t)(end - out);
    s->sent = s->counted = 0;
    s->plain = length;
    return 0;
}

/* The data of the group whose records were sent as a whole. */
static size_t sent_data(const sealed *s)
{
    if (s->sent == s->length)
        return s->plain;
    return s->sent < s->lead ? 0 : (s->sent - s->lead) / (WIRE_RECORD_BYTES + OVERHEAD_BYTES) * WIRE_RECORD_BYTES;
}

static ssize_t failed(const sealed *s, char *why, size_t why_size)
{
    snprintf(why, why_size, "%s", s->error > 0 ? strerror(s->error) : "OpenSSL could not encrypt");
    return WIRE_IO_ERROR;
}

/* Keeps the unsent bytes of the group, which lie in the scratch memory. */
static void keep(sealed *s, const char *unsent)
{
    size_t length = s->length - s->sent;
    if (!length || s->error)
        return;
    if ((s->kept = malloc(length)))
        memcpy(s->kept, unsent, length);
    else
        s->error = ENOMEM;
}

ssize_t wire_tls_seal_write(void *pointer, const void *data, size_t length, char *scratch, char *why, size_t why_size)
{
    sealed *s = pointer;
    size_t done = 0;
    int waits = 0;
    /* The next unsent byte of the group. `kept` begins with the one that was next when it was kept. */
    char *next = s->kept;
    size_t kept_at = s->sent;
    while (!s->error) {
        size_t counts = sent_data(s) - s->counted;
        if (counts > length - done)
            counts = length - done;
        done += counts;
        s->counted += counts;
        if (done == length)
            break;
        if (s->sent == s->length) { /* and all of its data is counted */
            free(s->kept);
            s->kept = NULL;
            if (seal(s, (const uint8_t *)data + done, length - done, (uint8_t *)scratch))
                s->error = -1;
            next = scratch;
            kept_at = 0;
            continue;
        }
        if (waits)
            break;
        ssize_t n = send(s->fd, next + (s->sent - kept_at), s->length - s->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            s->sent += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            waits = 1;
        else if (errno != EINTR)
            s->error = errno;
    }
    if (!s->kept)
        keep(s, next + (s->sent - kept_at));
    else if (s->sent > kept_at)
        memmove(s->kept, s->kept + (s->sent - kept_at), s->length - s->sent);
    if (done)
        return (ssize_t)done;
    return s->error ? failed(s, why, why_size) : WIRE_IO_WANT_WRITE;
}
