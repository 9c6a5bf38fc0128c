/* The I/O thread: commands in, sockets served, events out. */
#define _GNU_SOURCE
#include "wire_core.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { ADD, CLOSE, SUBMIT, FEED, CANCEL, USED, FREE_CONNECTION, FREE_REQUEST };

double wire_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

wire_engine *wire_engine_new(wire_rate *rate)
{
    wire_engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    e->commands_end = &e->commands;
    e->published_end = &e->published;
    e->events_end = &e->events;
    e->ready_end = &e->ready;
    e->throttled_end = &e->throttled;
    e->rate = rate;
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->input = malloc(WIRE_READ_BYTES);
    e->gather = malloc(WIRE_GATHER_BYTES);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (!e->input || !e->gather || e->epoll_fd < 0 || e->wake_fd < 0 || e->notify_fd < 0 ||
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &event)) {
        int saved = errno ? errno : ENOMEM;
        wire_engine_free(e);
        errno = saved;
        return NULL;
    }
    e->now = wire_now();
    return e;
}

void wire_event_free(wire_event *event)
{
    free(event->data);
    free(event);
}

/* -- the caller's side ----------------------------------------------------------------------------------------------- */

static void poke(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static int post(wire_engine *e, wire_command what)
{
    wire_command *command = malloc(sizeof *command);
    if (!command)
        return -1;
    *command = what;
    command->next = NULL;
    pthread_mutex_lock(&e->lock);
    int first = e->commands == NULL;
    *e->commands_end = command;
    e->commands_end = &command->next;
    pthread_mutex_unlock(&e->lock);
    if (first)
        poke(e->wake_fd);
    return 0;
}

int wire_engine_add(wire_engine *e, wire_connection *c)
{
    return post(e, (wire_command){.kind = ADD, .connection = c});
}

void wire_engine_close(wire_engine *e, wire_connection *c)
{
    post(e, (wire_command){.kind = CLOSE, .connection = c});
}

int wire_engine_submit(wire_engine *e, wire_connection *c, wire_request *r)
{
    return post(e, (wire_command){.kind = SUBMIT, .connection = c, .request = r});
}

int wire_engine_feed(wire_engine *e, wire_request *r, const char *data, size_t length, int last)
{
    wire_piece *piece = NULL;
    if (length) {
        if (!(piece = calloc(1, sizeof *piece)))
            return -1;
        *piece = (wire_piece){.data = data, .length = length};
    }
    if (post(e, (wire_command){.kind = FEED, .request = r, .piece = piece, .last = last})) {
        free(piece);
        return -1;
    }
    return 0;
}

void wire_engine_cancel(wire_engine *e, wire_request *r)
{
    post(e, (wire_command){.kind = CANCEL, .request = r});
}

int wire_engine_used(wire_engine *e, wire_request *r, size_t bytes)
{
    return post(e, (wire_command){.kind = USED, .request = r, .bytes = bytes});
}

void wire_engine_free_connection(wire_engine *e, wire_connection *c)
{
    post(e, (wire_command){.kind = FREE_CONNECTION, .connection = c});
}

void wire_engine_free_request(wire_engine *e, wire_request *r)
{
    post(e, (wire_command){.kind = FREE_REQUEST, .request = r});
}

void wire_engine_stop(wire_engine *e)
{
    atomic_store(&e->stopping, 1);
    poke(e->wake_fd);
}

int wire_engine_notify_fd(const wire_engine *e)
{
    return e->notify_fd;
}

wire_event *wire_engine_events(wire_engine *e)
{
    uint64_t count;
    while (read(e->notify_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&e->lock);
    wire_event *events = e->published;
    e->published = NULL;
    e->published_end = &e->published;
    pthread_mutex_unlock(&e->lock);
    return events;
}

/* -- the I/O thread's side ------------------------------------------------------------------------------------------- */

void wire_emit(wire_engine *e, int kind, void *owner, int64_t number, char *data)
{
    wire_event *event = malloc(sizeof *event);
    if (!event)
        abort(); /* a completion that is lost would be a call that never returns */
    *event = (wire_event){.kind = kind, .owner = owner, .number = number, .data = data};
    *e->events_end = event;
    e->events_end = &event->next;
}

static void publish(wire_engine *e)
{
    if (!e->events)
        return;
    pthread_mutex_lock(&e->lock);
    int first = e->published == NULL;
    *e->published_end = e->events;
    e->published_end = e->events_end;
    pthread_mutex_unlock(&e->lock);
    e->events = NULL;
    e->events_end = &e->events;
    if (first)
        poke(e->notify_fd);
}

void wire_make_ready(wire_connection *c)
{
    if (c->ready || c->dead)
        return;
    c->ready = 1;
    c->next_ready = NULL;
    *c->engine->ready_end = c;
    c->engine->ready_end = &c->next_ready;
}

static void feed(wire_command *command)
{
    wire_request *r = command->request;
    if (command->piece && r->released) {
        free(command->piece);
    } else if (command->piece) {
        if (r->last_piece)
            r->last_piece->next = command->piece;
        else
            r->pieces = command->piece;
        r->last_piece = command->piece;
    }
    r->complete |= command->last;
    if (!r->done && r->connection && !r->connection->dead) {
        if (r->connection->http2)
            wire_h2_resume(r->connection, r);
        wire_make_ready(r->connection);
    }
}

static void used(wire_request *r, size_t bytes)
{
    wire_connection *c = r->connection;
    r->backlog -= bytes;
    if (c && !c->dead && c->paused && r->backlog < WIRE_BACKLOG_BYTES / 2) {
        c->paused = 0;
        c->unread = 1;
        r->last_activity = c->engine->now;
        wire_make_ready(c);
    }
}

static void run_command(wire_engine *e, wire_command *command)
{
    wire_connection *c = command->connection;
    wire_request *r = command->request;
    switch (command->kind) {
    case ADD:
        wire_connection_start(e, c);
        break;
    case CLOSE:
        if (!c->dead)
            wire_kill(c, WIRE_CANCELLED, "");
        break;
    case SUBMIT:
        wire_connection_submit(c, r);
        break;
    case FEED:
        feed(command);
        break;
    case CANCEL:
        if (!r->done)
            wire_connection_cancel(r->connection, r);
        break;
    case USED:
        used(r, command->bytes);
        break;
    case FREE_CONNECTION:
        wire_connection_free(c);
        break;
    case FREE_REQUEST:
        wire_request_free(r);
        break;
    }
}

static void run_commands(wire_engine *e)
{
    pthread_mutex_lock(&e->lock);
    wire_command *command = e->commands;
    e->commands = NULL;
    e->commands_end = &e->commands;
    pthread_mutex_unlock(&e->lock);
    while (command) {
        wire_command *next = command->next;
        run_command(e, command);
        free(command);
        command = next;
    }
}

static void tick(wire_engine *e)
{
    e->next_tick = e->now + WIRE_TICK_SECONDS;
    for (wire_connection *next, *c = e->connections; c; c = next) {
        next = c->next;
        if (c->requests)
            wire_connection_tick(c, e->now);
    }
}

/* One turn for each connection that has more to do; those that are not finished stand at the end of the next round. */
static void serve_ready(wire_engine *e)
{
    wire_connection *c = e->ready;
    e->ready = NULL;
    e->ready_end = &e->ready;
    while (c) {
        wire_connection *next = c->next_ready;
        c->ready = 0;
        if (!c->dead && c->unread)
            wire_connection_read(c);
        if (!c->dead)
            wire_connection_write(c);
        c = next;
    }
}

/* At the end, when nothing is served any more. */
static void forget_ready(wire_engine *e)
{
    for (wire_connection *c = e->ready; c; c = c->next_ready)
        c->ready = 0;
    e->ready = NULL;
    e->ready_end = &e->ready;
}

/* -- turns below the rate limit: who has waited longest sends next, and then stands behind the others ------------------- */

size_t wire_allowed(wire_connection *c, size_t want)
{
    wire_engine *e = c->engine;
    int others_wait = e->throttled && e->has_turn != c;
    size_t granted = others_wait ? 0 : wire_rate_take(e->rate, e->now, want);
    if (granted)
        return granted;
    if (!e->throttled)
        e->throttled_until = e->now + wire_rate_wait(e->rate, e->now);
    c->throttled = 1;
    c->next_throttled = NULL;
    *e->throttled_end = c;
    e->throttled_end = &c->next_throttled;
    return 0;
}

void wire_leave_queue(wire_connection *c)
{
    wire_engine *e = c->engine;
    if (!c->throttled)
        return;
    wire_connection **at = &e->throttled;
    while (*at != c)
        at = &(*at)->next_throttled;
    *at = c->next_throttled;
    if (!*at)
        e->throttled_end = at;
    c->throttled = 0;
}

static void give_turns(wire_engine *e)
{
    double wait = 0;
    while (e->throttled && (wait = wire_rate_wait(e->rate, e->now)) <= 0) {
        wire_connection *c = e->has_turn = e->throttled;
        wire_leave_queue(c);
        wire_connection_write(c);
    }
    e->has_turn = NULL;
    e->throttled_until = e->now + wait;
}

static void socket_event(wire_connection *c, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->hung_up = 1;
    if (events & EPOLLOUT)
        c->writable = 1;
    if ((events & ~(uint32_t)EPOLLOUT) || (c->want_write_to_read && (events & EPOLLOUT)))
        wire_connection_read(c);
    if (!c->dead)
        wire_connection_write(c);
}

/* What a dead connection still holds; nobody can be looking at it now. One that stands in the list of the ready stays until
 * `serve_ready` has taken it out: after WIRE_CLOSED the caller may free it. */
static void bury(wire_engine *e)
{
    for (wire_connection **at = &e->dead; *at;) {
        wire_connection *c = *at;
        if (c->ready) {
            at = &c->next_dead;
            continue;
        }
        *at = c->next_dead;
        wire_h2_free(c);
        wire_h1_free(&c->parser);
        wire_emit(e, WIRE_CLOSED, c->owner, 0, NULL);
    }
}

static int sleep_milliseconds(wire_engine *e)
{
    double until = -1;
    if (e->ready)
        return 0;
    if (e->active)
        until = e->next_tick;
    if (e->throttled && (until < 0 || e->throttled_until < until))
        until = e->throttled_until;
    if (until < 0)
        return -1;
    double seconds = until - e->now;
    return seconds <= 0 ? 0 : (int)(seconds * 1000) + 1;
}

/* Signals are the interpreter's, whose main thread they wake; a broken pipe must not end the process, whatever it has
 * SIGPIPE set to. Faults stay: the guard of mapped files lives on SIGBUS. */
static void leave_signals_to_others(void)
{
    sigset_t signals;
    sigfillset(&signals);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

void wire_engine_run(wire_engine *e)
{
    struct epoll_event events[64];
    pthread_setname_np(pthread_self(), "cosxfer-wire");
    leave_signals_to_others();
    while (!atomic_load(&e->stopping)) {
        int count = epoll_wait(e->epoll_fd, events, 64, sleep_milliseconds(e));
        e->now = wire_now();
        for (int i = 0; i < count; i++) {
            wire_connection *c = events[i].data.ptr;
            if (!c) {
                uint64_t value;
                while (read(e->wake_fd, &value, sizeof value) < 0 && errno == EINTR)
                    ;
                run_commands(e);
            } else if (!c->dead) {
                socket_event(c, events[i].events);
            }
        }
        if (e->throttled && e->now >= e->throttled_until)
            give_turns(e);
        serve_ready(e);
        if (e->active && e->now >= e->next_tick)
            tick(e);
        bury(e);
        publish(e);
    }
    while (e->connections)
        wire_kill(e->connections, WIRE_CANCELLED, "the client is closed");
    run_commands(e);
    while (e->connections)
        wire_kill(e->connections, WIRE_CANCELLED, "the client is closed");
    forget_ready(e);
    bury(e);
    publish(e);
}

void wire_engine_release(wire_engine *e)
{
    int *fds[] = {&e->epoll_fd, &e->wake_fd, &e->notify_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        int fd = *fds[i];
        *fds[i] = -1; /* what is still posted must wake nobody else's */
        if (fd >= 0)
            close(fd);
    }
}

void wire_engine_free(wire_engine *e)
{
    run_commands(e);
    forget_ready(e);
    bury(e);
    publish(e);
    for (wire_event *next, *event = e->published; event; event = next) {
        next = event->next;
        wire_event_free(event);
    }
    wire_engine_release(e);
    free(e->input);
    free(e->gather);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
