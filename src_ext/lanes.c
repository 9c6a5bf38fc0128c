/* The lane scheduler: keeps the MD5 lanes full and lets the CRC run just ahead of them.
 *
 * A lane reads segments: the whole blocks of a part in place, then one or two blocks of padding from its own buffer.
 * All lanes advance by the same number of blocks, as many as the shortest segment has. If a lane's job ends, the lane
 * takes the next one from the queue. So with any mix of sizes, no lane is idle before the queue is empty.
 */
#include "lanes.h"

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* The most blocks per round: 2 KiB for each lane. Data that is prefetched for the next round stays in the cache. */
#define ROUND_BLOCKS 32
/* If the size of the parts is a power of two, lanes at the same position in each part use the same few cache sets. That
 * is 20 % slower. So the lanes of large parts start one block apart, and stay one block apart. */
#define STAGGER_BYTES (256 * 1024)
/* The CRC reads so many bytes at a time, if there are so many. */
#define CRC_BYTES 1024

enum phase { CARRY, BODY, PADDING };

typedef struct {
    cosx_job *job;
    cosx_part *part;
    int is_stream;      /* hashes the stream, not the part */
    enum phase phase;
    uint64_t blocks;    /* left in this segment */
    uint64_t crc_done;  /* bytes of the part that the CRC has read */
    uint64_t skip;      /* stream: bytes of the part that completed the block before */
    int folding;        /* the CRC up to crc_done is in the accumulator, not in part->crc */
    cosx_md5 md5;       /* stream: its state between parts; becomes the caller's when the job ends */
    uint8_t buffer[2 * COSX_MD5_BLOCK];
    uint8_t accumulator[COSX_FOLD_BYTES] __attribute__((aligned(64)));
} lane;

struct cosx_worker {
    uint32_t state[4 * COSX_MAX_LANES] __attribute__((aligned(64)));
    const uint8_t *data[COSX_MAX_LANES];
    lane *slot[COSX_MAX_LANES]; /* the first `active` ones work */
    unsigned active, limit;
    int staggering; /* lanes are free, and the next job starts one block later */
    cosx_queue *queue;
    const cosx_kernel *kernel;
    uint64_t done;
    uint8_t unused[COSX_FOLD_BYTES] __attribute__((aligned(64)));
    lane lanes[COSX_MAX_LANES];
};

cosx_worker *cosx_worker_new(cosx_queue *queue, unsigned threads)
{
    const size_t per_job = queue->streams ? 2 : 1;
    cosx_worker *w = NULL;
    if (posix_memalign((void **)&w, 64, sizeof *w))
        return NULL;
    memset(w, 0, sizeof *w);
    w->queue = queue;
    w->kernel = cosx_kernel_in_use;
    w->limit = cosx_kernel_lanes();
    if (w->limit > cosx_lane_limit)
        w->limit = cosx_lane_limit;
    /* Use equally many lanes in each turn: 40 equal parts in 32 lanes would be one turn of 32 and one of 8. */
    size_t share = (queue->count + threads - 1) / threads * per_job;
    size_t turns = (share + w->limit - 1) / w->limit;
    if (turns)
        w->limit = (unsigned)((share + turns - 1) / turns);
    for (unsigned i = 0; i < COSX_MAX_LANES; i++)
        w->slot[i] = &w->lanes[i];
    return w;
}

void cosx_worker_free(cosx_worker *worker)
{
    free(worker);
}

static void set_state(cosx_worker *w, unsigned slot, const uint32_t state[4])
{
    for (int i = 0; i < 4; i++)
        w->state[i * COSX_MAX_LANES + slot] = state[i];
}

static void get_state(const cosx_worker *w, unsigned slot, uint32_t state[4])
{
    for (int i = 0; i < 4; i++)
        state[i] = w->state[i * COSX_MAX_LANES + slot];
}

static void set_position(cosx_part *part, uint64_t position)
{
    __atomic_store_n(&part->position, position, __ATOMIC_RELAXED);
}

static void start_folding(lane *l)
{
    cosx_part *part = l->part;
    uint64_t remainder = ~part->crc;
    memcpy(l->accumulator, part->data + l->crc_done, COSX_FOLD_BYTES);
    for (int i = 0; i < 8; i++)
        l->accumulator[i] ^= (uint8_t)(remainder >> (8 * i));
    l->crc_done += COSX_FOLD_BYTES;
    l->folding = 1;
}

static void stop_folding(cosx_worker *w, lane *l)
{
    l->part->crc = w->kernel->crc64(~UINT64_C(0), l->accumulator, COSX_FOLD_BYTES);
    l->folding = 0;
}

/* Advances the CRC at least to `end`. */
static void crc_up_to(cosx_worker *w, lane *l, uint64_t end)
{
    cosx_part *part = l->part;
    if (l->folding && l->crc_done < end)
        stop_folding(w, l);
    while (l->crc_done < end) {
        uint64_t take = part->size - l->crc_done;
        if (take > CRC_BYTES)
            take = CRC_BYTES;
        part->crc = w->kernel->crc64(part->crc, part->data + l->crc_done, take);
        l->crc_done += take;
    }
}

static void start_part(cosx_worker *w, unsigned slot, cosx_part *part)
{
    lane *l = w->slot[slot];
    cosx_md5 fresh;
    cosx_md5_init(&fresh);
    set_state(w, slot, fresh.state);
    part->crc = 0;
    l->part = part;
    l->phase = BODY;
    l->crc_done = 0;
    l->folding = 0;
    l->blocks = part->size / COSX_MD5_BLOCK;
    w->data[slot] = part->data;
}

/* Sets the next segment of a part's lane. Returns 0 if the job is done. */
static int next_of_part(cosx_worker *w, unsigned slot)
{
    lane *l = w->slot[slot];
    while (l->blocks == 0) {
        cosx_part *part = l->part;
        if (l->phase == BODY) {
            uint64_t rest = part->size % COSX_MD5_BLOCK;
            if (w->queue->crc64) {
                crc_up_to(w, l, part->size);
                if (l->folding)
                    stop_folding(w, l);
            }
            l->blocks = cosx_md5_padding(l->buffer, rest ? part->data + part->size - rest : NULL, part->size);
            w->data[slot] = l->buffer;
            w->done += rest;
            l->phase = PADDING;
        } else {
            uint32_t state[4];
            get_state(w, slot, state);
            cosx_md5_output(state, part->md5);
            set_position(part, part->size);
            if (part->next == NULL)
                return 0;
            start_part(w, slot, part->next);
        }
    }
    return 1;
}

/* Starts a stream's next part: first the bytes that complete the unfinished block of the part before. */
static void start_piece(cosx_worker *w, unsigned slot, cosx_part *part)
{
    lane *l = w->slot[slot];
    size_t held = l->md5.length % COSX_MD5_BLOCK;
    l->part = part;
    l->skip = 0;
    l->phase = CARRY;
    l->blocks = 0;
    if (held) {
        l->skip = COSX_MD5_BLOCK - held < part->size ? COSX_MD5_BLOCK - held : part->size;
        memcpy(l->md5.tail + held, part->data, l->skip);
        if (held + l->skip == COSX_MD5_BLOCK) {
            memcpy(l->buffer, l->md5.tail, COSX_MD5_BLOCK);
            w->data[slot] = l->buffer;
            l->blocks = 1;
        }
    }
}

static int next_of_stream(cosx_worker *w, unsigned slot)
{
    lane *l = w->slot[slot];
    while (l->blocks == 0) {
        cosx_part *part = l->part;
        uint64_t rest = (part->size - l->skip) % COSX_MD5_BLOCK;
        if (l->phase == CARRY) {
            l->blocks = (part->size - l->skip) / COSX_MD5_BLOCK;
            w->data[slot] = part->data + l->skip;
            l->phase = BODY;
        } else {
            if (rest)
                memcpy(l->md5.tail, part->data + part->size - rest, rest);
            l->md5.length += part->size;
            if (part->next == NULL) {
                get_state(w, slot, l->md5.state);
                *l->job->stream = l->md5;
                return 0;
            }
            start_piece(w, slot, part->next);
        }
    }
    return 1;
}

static int next_segment(cosx_worker *w, unsigned slot)
{
    return w->slot[slot]->is_stream ? next_of_stream(w, slot) : next_of_part(w, slot);
}

/* Ends the job of a slot; the last active one takes its place. */
static void retire(cosx_worker *w, unsigned slot)
{
    unsigned last = --w->active;
    if (slot != last) {
        lane *gone = w->slot[slot];
        uint32_t state[4];
        get_state(w, last, state);
        set_state(w, slot, state);
        w->data[slot] = w->data[last];
        w->slot[slot] = w->slot[last];
        w->slot[last] = gone;
    }
}

static void start_lane(cosx_worker *w, cosx_job *job, int is_stream)
{
    unsigned slot = w->active++;
    lane *l = w->slot[slot];
    l->job = job;
    l->is_stream = is_stream;
    if (is_stream) {
        l->md5 = *job->stream;
        set_state(w, slot, l->md5.state);
        start_piece(w, slot, job->first);
    } else {
        start_part(w, slot, job->first);
    }
    if (!next_segment(w, slot))
        retire(w, slot);
}

static void refill(cosx_worker *w)
{
    cosx_queue *q = w->queue;
    unsigned need = q->streams ? 2 : 1;
    w->staggering = 0;
    while (w->active == 0 || w->active + need <= w->limit) {
        size_t index = __atomic_fetch_add(&q->taken, 1, __ATOMIC_RELAXED);
        if (index >= q->count) {
            __atomic_store_n(&q->taken, q->count, __ATOMIC_RELAXED);
            return;
        }
        cosx_job *job = &q->jobs[index];
        start_lane(w, job, 0);
        if (job->stream)
            start_lane(w, job, 1);
        if (job->first->size >= STAGGER_BYTES && w->active + need <= w->limit && index + 1 < q->count) {
            w->staggering = 1;
            return;
        }
    }
}

static const cosx_md5_width *width_for(const cosx_worker *w, unsigned active)
{
    const cosx_md5_width *width = w->kernel->widths;
    if (active <= w->kernel->narrow)
        return active > 1 ? width + 1 : width;
    while (width->lanes < active && width[1].lanes)
        width++;
    return width;
}

/* A round is as long as the kernel needs to prefetch one for all its lanes: `lanes` cache lines per block. */
static unsigned round_blocks(const cosx_md5_width *width)
{
    unsigned times = 32 / width->lanes;
    return width->lanes * (times ? times : 1);
}

/* The part that a lane reads with its MD5 and CRC, at its position; NULL for streams and padding. */
static cosx_part *crc_part(const cosx_worker *w, unsigned slot, uint64_t *position)
{
    lane *l = w->slot[slot];
    if (l->is_stream || l->phase != BODY)
        return NULL;
    *position = (uint64_t)(w->data[slot] - l->part->data);
    return l->part;
}

/* Sets what each lane will read after `blocks` more, the CRC first: its segment, or the start of a job that no lane has
 * taken yet. */
static void plan_prefetch(cosx_worker *w, const cosx_md5_width *width, unsigned blocks, const uint8_t **ahead)
{
    cosx_queue *q = w->queue;
    size_t upcoming = __atomic_load_n(&q->taken, __ATOMIC_RELAXED);
    unsigned times = blocks / width->lanes;
    for (unsigned i = 0; i < width->lanes; i++) {
        const uint8_t *start = w->data[i];
        uint64_t position;
        if (i < w->active && w->slot[i]->blocks > blocks) {
            start += (size_t)blocks * COSX_MD5_BLOCK;
            if (crc_part(w, i, &position) && w->slot[i]->crc_done > position + (uint64_t)blocks * COSX_MD5_BLOCK)
                start = w->slot[i]->part->data + w->slot[i]->crc_done;
        } else if (i < w->active && w->slot[i]->phase == BODY && upcoming < q->count)
            start = q->jobs[upcoming++].first->data;
        for (unsigned t = 0; t < times; t++)
            *ahead++ = start + (size_t)t * width->lanes * COSX_MD5_BLOCK;
    }
}

/* Sets what a fused round of `blocks` folds: for each lane whose CRC is less than a round ahead of its MD5, as many
 * bytes as the MD5 reads. For other lanes it sets harmless addresses. */
static void plan_folds(cosx_worker *w, const cosx_md5_width *width, unsigned blocks, cosx_fold *folds)
{
    const uint64_t bytes = (uint64_t)blocks * COSX_MD5_BLOCK, piece = (uint64_t)width->lanes * COSX_MD5_BLOCK;
    for (unsigned i = 0; i < width->lanes; i++) {
        cosx_fold fold = {w->unused, w->data[0]};
        uint64_t position;
        cosx_part *part = i < w->active ? crc_part(w, i, &position) : NULL;
        lane *l = w->slot[i];
        if (part && l->crc_done <= position + bytes && part->size - l->crc_done >= bytes + COSX_FOLD_BYTES) {
            if (!l->folding)
                start_folding(l);
            fold = (cosx_fold){l->accumulator, part->data + l->crc_done};
            l->crc_done += bytes;
        }
        for (uint64_t done = 0; done < bytes; done += piece, folds++) {
            *folds = fold;
            if (fold.accumulator != w->unused)
                fold.data += piece;
        }
    }
}

/* Runs one round: the CRC of the bytes that the MD5 reads next, then (or at the same time) the MD5. */
static void run_kernel(cosx_worker *w, const cosx_md5_width *width, unsigned blocks)
{
    const uint8_t *ahead[ROUND_BLOCKS];
    cosx_fold folds[ROUND_BLOCKS];
    const unsigned full = round_blocks(width);
    const int fused = w->queue->crc64 && w->kernel->fused && width->run_fused && blocks == full;
    if (fused)
        plan_folds(w, width, blocks, folds);
    if (w->queue->crc64)
        for (unsigned i = 0; i < w->active; i++) {
            uint64_t position;
            if (crc_part(w, i, &position))
                crc_up_to(w, w->slot[i], position + (uint64_t)blocks * COSX_MD5_BLOCK);
        }
    if (width->lanes <= 2) {
        const cosx_md5_width *scalar = w->kernel->widths;
        unsigned i = 0;
        for (; i + 2 <= w->active; i += 2)
            scalar[1].run(w->state + i, w->data + i, blocks, NULL);
        if (i < w->active)
            scalar[0].run(w->state + i, w->data + i, blocks, NULL);
        return;
    }
    for (unsigned i = w->active; i < width->lanes; i++)
        w->data[i] = w->data[0]; /* an idle lane reads the data of another lane */
    plan_prefetch(w, width, full, ahead);
    if (fused)
        width->run_fused(w->state, w->data, blocks, ahead, folds);
    else
        width->run(w->state, w->data, blocks, ahead);
}

/* Advances all lanes by the blocks that the kernel has read. A lane at the end of its segment gets the next one. */
static void step(cosx_worker *w, uint64_t blocks)
{
    for (unsigned i = w->active; i-- > 0;) {
        lane *l = w->slot[i];
        l->blocks -= blocks;
        w->data[i] += blocks * COSX_MD5_BLOCK;
        if (!l->is_stream && l->phase == BODY) {
            w->done += blocks * COSX_MD5_BLOCK;
            set_position(l->part, (uint64_t)(w->data[i] - l->part->data));
        }
        if (l->blocks == 0 && !next_segment(w, i))
            retire(w, i);
    }
}

uint64_t cosx_worker_run(cosx_worker *w, uint64_t budget)
{
    w->done = 0;
    while (w->done < budget) {
        refill(w);
        if (w->active == 0)
            break;
        const cosx_md5_width *width = width_for(w, w->active);
        uint64_t blocks = (budget - w->done) / w->active / COSX_MD5_BLOCK + 1;
        if (blocks > round_blocks(width))
            blocks = round_blocks(width);
        if (w->staggering)
            blocks = 1;
        for (unsigned i = 0; i < w->active; i++)
            if (blocks > w->slot[i]->blocks)
                blocks = w->slot[i]->blocks;
        run_kernel(w, width, (unsigned)blocks);
        step(w, blocks);
    }
    return w->done;
}
