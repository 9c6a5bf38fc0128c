#include "request_heads.h"

#include <stdio.h>
#include <string.h>

#define MD5_BYTES 16
#define BASE64_BYTES 24 /* of an MD5 */
#define ESCAPED_BYTES (3 * BASE64_BYTES)
#define NUMBER_BYTES 21
#define HEX_BYTES (2 * COSX_SHA1_BYTES)

static const char MD5_NAME[] = "content-md5: ", LENGTH_NAME[] = "\r\ncontent-length: ", LINE_END[] = "\r\n";
static const char SIGNED_LENGTH[] = "content-length=", SIGNED_MD5[] = "&content-md5=";

static char *put(char *out, const void *data, size_t length)
{
    memcpy(out, data, length);
    return out + length;
}

static char *put_text(char *out, const char *text)
{
    return put(out, text, strlen(text));
}

/* Letters, digits and these are not escaped, neither in a path (with the slash) nor in what is signed. */
static int is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'
        || c == '.' || c == '~';
}

static char *put_escaped(char *out, const char *text, size_t length, char also_plain)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (is_plain(c) || c == (unsigned char)also_plain) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

static void base64(const uint8_t md5[MD5_BYTES], char out[BASE64_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < MD5_BYTES; i += 3) {
        uint32_t three = (uint32_t)md5[i] << 16;
        if (i + 2 < MD5_BYTES)
            three |= (uint32_t)md5[i + 1] << 8 | md5[i + 2];
        for (int j = 0; j < 4; j++)
            *out++ = digits[three >> (18 - 6 * j) & 63];
    }
    out[-1] = out[-2] = '='; /* the last group has one byte */
}

static void hex(const uint8_t digest[COSX_SHA1_BYTES], char out[HEX_BYTES])
{
    for (int i = 0; i < COSX_SHA1_BYTES; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
}

static void add(cosx_sha1 *sha1, cosx_piece piece)
{
    cosx_sha1_add(sha1, piece.data, piece.length);
}

void cosx_request_heads_key(cosx_request_heads *heads, const uint8_t *key, size_t length)
{
    uint8_t pad[COSX_SHA1_BLOCK];
    cosx_sha1 *states[] = {&heads->inner, &heads->outer};
    const uint8_t masks[] = {0x36, 0x5c}; /* RFC 2104 */
    for (int i = 0; i < 2; i++) {
        memset(pad, masks[i], sizeof pad);
        for (size_t j = 0; j < length; j++)
            pad[j] ^= key[j];
        cosx_sha1_begin(states[i]);
        cosx_sha1_add(states[i], pad, sizeof pad);
    }
}

size_t cosx_request_heads_room(const cosx_request_heads *heads, size_t path_length)
{
    return heads->method.length + 3 * path_length + heads->after_path.length + sizeof MD5_NAME + BASE64_BYTES
        + sizeof LENGTH_NAME + NUMBER_BYTES + sizeof LINE_END + heads->after_body.length + HEX_BYTES
        + heads->end.length;
}

static void sign(
    const cosx_request_heads *heads, const char *path, size_t path_length, const char *body, size_t body_length,
    char out[HEX_BYTES]
)
{
    uint8_t digest[COSX_SHA1_BYTES];
    cosx_sha1 request, inner = heads->inner, outer = heads->outer;
    cosx_sha1_begin(&request);
    add(&request, heads->signed_method);
    cosx_sha1_add(&request, path, path_length);
    add(&request, heads->signed_before);
    cosx_sha1_add(&request, body, body_length);
    add(&request, heads->signed_rest);
    cosx_sha1_end(&request, digest);
    hex(digest, out);
    add(&inner, heads->to_sign);
    cosx_sha1_add(&inner, out, HEX_BYTES);
    cosx_sha1_add(&inner, "\n", 1);
    cosx_sha1_end(&inner, digest);
    cosx_sha1_add(&outer, digest, sizeof digest);
    cosx_sha1_end(&outer, digest);
    hex(digest, out);
}

size_t cosx_request_heads_write(
    const cosx_request_heads *heads, const char *path, size_t path_length, const uint8_t *md5, uint64_t body_length,
    char *out
)
{
    char *at = out, number[NUMBER_BYTES], encoded[BASE64_BYTES];
    char body[sizeof SIGNED_LENGTH + NUMBER_BYTES + sizeof SIGNED_MD5 + ESCAPED_BYTES], *end = body;
    at = put(at, heads->method.data, heads->method.length);
    at = put_escaped(at, path, path_length, '/');
    at = put(at, heads->after_path.data, heads->after_path.length);
    if (md5) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)body_length);
        base64(md5, encoded);
        at = put_text(at, MD5_NAME);
        at = put(at, encoded, sizeof encoded);
        at = put_text(at, LENGTH_NAME);
        at = put_text(at, number);
        at = put_text(at, LINE_END);
        end = put_text(end, SIGNED_LENGTH);
        end = put_text(end, number);
        end = put_text(end, SIGNED_MD5);
        end = put_escaped(end, encoded, sizeof encoded, '-');
    }
    at = put(at, heads->after_body.data, heads->after_body.length);
    if (heads->to_sign.length) {
        sign(heads, path, path_length, body, (size_t)(end - body), at);
        at += HEX_BYTES;
    }
    at = put(at, heads->end.data, heads->end.length);
    return (size_t)(at - out);
}
