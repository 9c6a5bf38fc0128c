/* The rate limit: a token bucket that the I/O threads of a client share, for both directions. A burst may be as long as
 * a tenth of a second. While the bucket is not empty, a connection may take a whole quantum on credit. So no connection waits longer than
 * another. */
#include "wire_rate.h"

#include "wire_clock.h"

#include <pthread.h>
#include <stdlib.h>

#define QUANTUM_BYTES 16384.0 /* the least that is sent at once; else a low rate would cause tiny writes */

struct wire_rate {
    pthread_mutex_t lock;
    double per_second, burst, tokens, filled;
};

wire_rate *wire_rate_new(double bytes_per_second)
{
    wire_rate *rate = calloc(1, sizeof *rate);
    if (!rate)
        return NULL;
    pthread_mutex_init(&rate->lock, NULL);
    rate->per_second = bytes_per_second;
    rate->burst = bytes_per_second / 10 > QUANTUM_BYTES ? bytes_per_second / 10 : QUANTUM_BYTES;
    rate->tokens = rate->burst;
    rate->filled = wire_now();
    return rate;
}

void wire_rate_free(wire_rate *rate)
{
    if (!rate)
        return;
    pthread_mutex_destroy(&rate->lock);
    free(rate);
}

static void fill(wire_rate *rate, double now)
{
    if (now > rate->filled) {
        rate->tokens += (now - rate->filled) * rate->per_second;
        rate->filled = now;
        if (rate->tokens > rate->burst)
            rate->tokens = rate->burst;
    }
}

size_t wire_rate_take(wire_rate *rate, double now, size_t want)
{
    size_t granted = 0;
    pthread_mutex_lock(&rate->lock);
    fill(rate, now);
    if (rate->tokens > 0) {
        double most = rate->tokens > QUANTUM_BYTES ? rate->tokens : QUANTUM_BYTES;
        granted = (double)want < most ? want : (size_t)most;
        rate->tokens -= (double)granted;
    }
    pthread_mutex_unlock(&rate->lock);
    return granted;
}

double wire_rate_wait(wire_rate *rate, double now)
{
    pthread_mutex_lock(&rate->lock);
    fill(rate, now);
    double missing = -rate->tokens;
    pthread_mutex_unlock(&rate->lock);
    return missing < 0 ? 0 : (missing + 1) / rate->per_second;
}

void wire_rate_give_back(wire_rate *rate, size_t bytes)
{
    pthread_mutex_lock(&rate->lock);
    rate->tokens += (double)bytes;
    pthread_mutex_unlock(&rate->lock);
}
