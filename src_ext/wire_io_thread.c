/* The I/O thread: takes commands, serves sockets, publishes events. */
#define _GNU_SOURCE
#include "wire_clock.h"
#include "wire_close.h"
#include "wire_connection.h"
#include "wire_h2.h"
#include "wire_mailbox.h"
#include "wire_rate.h"
#include "wire_schedule.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ADD, CLOSE, SUBMIT, FEED, CANCEL, USED, FREE_CONNECTION, FREE_REQUEST };

wire_io_thread *wire_io_thread_new(wire_rate *rate)
{
    wire_io_thread *io = calloc(1, sizeof *io);
    if (!io)
        return NULL;
    pthread_mutex_init(&io->lock, NULL);
    io->commands_end = &io->commands;
    io->published_end = &io->published;
    io->events_end = &io->events;
    io->ready_end = &io->ready;
    io->throttled_end = &io->throttled;
    io->rate = rate;
    io->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    io->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    io->input = malloc(WIRE_READ_BYTES);
    io->gather = malloc(WIRE_GATHER_BYTES);
    io->scratch = malloc(WIRE_SEAL_BYTES);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (!io->input || !io->gather || !io->scratch || io->epoll_fd < 0 || io->wake_fd < 0 || io->notify_fd < 0 ||
        epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, io->wake_fd, &event)) {
        int saved = errno ? errno : ENOMEM;
        wire_io_thread_free(io);
        errno = saved;
        return NULL;
    }
    io->now = wire_now();
    return io;
}

/* -- the caller's side --------------------------------------------------------------------------------------------- */

int wire_io_thread_add(wire_io_thread *io, wire_connection *c)
{
    return wire_mailbox_post(io, (wire_command){.kind = ADD, .connection = c}, 0);
}

void wire_io_thread_close(wire_io_thread *io, wire_connection *c)
{
    wire_mailbox_post(io, (wire_command){.kind = CLOSE, .connection = c}, 0);
}

int wire_io_thread_submit(wire_io_thread *io, wire_connection *c, wire_request *r, int quietly)
{
    return wire_mailbox_post(io, (wire_command){.kind = SUBMIT, .connection = c, .request = r}, quietly);
}

void wire_io_thread_announce(wire_io_thread *io)
{
    wire_mailbox_announce(io);
}

int wire_io_thread_feed(wire_io_thread *io, wire_request *r, const char *data, size_t length, int last)
{
    wire_piece *piece = NULL;
    if (length) {
        if (!(piece = calloc(1, sizeof *piece)))
            return -1;
        *piece = (wire_piece){.data = data, .length = length};
    }
    if (wire_mailbox_post(io, (wire_command){.kind = FEED, .request = r, .piece = piece, .last = last}, 0)) {
        free(piece);
        return -1;
    }
    return 0;
}

void wire_io_thread_cancel(wire_io_thread *io, wire_request *r)
{
    wire_mailbox_post(io, (wire_command){.kind = CANCEL, .request = r}, 0);
}

int wire_io_thread_used(wire_io_thread *io, wire_request *r, size_t bytes)
{
    return wire_mailbox_post(io, (wire_command){.kind = USED, .request = r, .bytes = bytes}, 0);
}

void wire_io_thread_free_connection(wire_io_thread *io, wire_connection *c)
{
    wire_mailbox_post(io, (wire_command){.kind = FREE_CONNECTION, .connection = c}, 0);
}

void wire_io_thread_free_request(wire_io_thread *io, wire_request *r)
{
    wire_mailbox_post(io, (wire_command){.kind = FREE_REQUEST, .request = r}, 0);
}

void wire_io_thread_stop(wire_io_thread *io)
{
    atomic_store(&io->stopping, 1);
    wire_mailbox_poke(io->wake_fd);
}

int wire_io_thread_notify_fd(const wire_io_thread *io)
{
    return io->notify_fd;
}

wire_event *wire_io_thread_events(wire_io_thread *io)
{
    return wire_mailbox_take_events(io);
}

/* -- the I/O thread's side ----------------------------------------------------------------------------------------- */

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
        wire_schedule_ready(r->connection);
    }
}

static void used(wire_request *r, size_t bytes)
{
    wire_connection *c = r->connection;
    r->backlog -= bytes;
    if (c && !c->dead && c->paused && r->backlog < WIRE_BACKLOG_BYTES / 2) {
        c->paused = 0;
        c->unread = 1;
        r->last_activity = c->io->now;
        wire_schedule_ready(c);
    }
}

static void run_command(wire_io_thread *io, wire_command *command)
{
    wire_connection *c = command->connection;
    wire_request *r = command->request;
    switch (command->kind) {
    case ADD:
        wire_connection_start(io, c);
        break;
    case CLOSE:
        if (!c->dead)
            wire_close_now(c, WIRE_CANCELLED, "");
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

static void run_commands(wire_io_thread *io)
{
    wire_command *command = wire_mailbox_take_commands(io);
    while (command) {
        wire_command *next = command->next;
        run_command(io, command);
        free(command);
        command = next;
    }
}

static void tell_unacknowledged(wire_io_thread *io, uint64_t bytes)
{
    if (bytes == io->unacknowledged)
        return;
    io->unacknowledged = bytes;
    wire_mailbox_emit(io, WIRE_UNACKNOWLEDGED, NULL, (int64_t)bytes, NULL);
}

static void tick(wire_io_thread *io)
{
    uint64_t unacknowledged = 0;
    double disk_seconds = 0;
    for (wire_connection *c = io->connections; c; c = c->next)
        disk_seconds += wire_connection_disk_seconds(c);
    io->next_tick = io->now + WIRE_TICK_SECONDS;
    for (wire_connection *next, *c = io->connections; c; c = next) {
        next = c->next;
        if (!c->requests)
            continue;
        wire_connection_tick(c, io->now, disk_seconds);
        if (!c->dead)
            unacknowledged += wire_connection_unacknowledged(c);
    }
    tell_unacknowledged(io, unacknowledged);
}

/* Gives one turn to each connection in the ready list. A connection with more to do goes to the end of the list for the
 * next round. */
static void serve_ready(wire_io_thread *io)
{
    wire_connection *c = io->ready;
    io->ready = NULL;
    io->ready_end = &io->ready;
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

/* Gives a turn to a connection that waited for the rate limit. One that sends and receives does each first in turn. */
static void give_turn(wire_connection *c)
{
    int read_first = c->unread && !c->wrote_first;
    c->wrote_first = !c->wrote_first;
    if (!read_first)
        wire_connection_write(c);
    if (!c->dead && c->unread)
        wire_connection_read(c);
    if (!c->dead && read_first)
        wire_connection_write(c);
}

/* Lets connections that wait for the rate limit send or receive, the longest waiting first. After its turn a connection
 * goes to the end of the queue. */
static void give_turns(wire_io_thread *io)
{
    double wait = 0;
    while (io->throttled && (wait = wire_rate_wait(io->rate, io->now)) <= 0) {
        wire_connection *c = io->has_turn = io->throttled;
        wire_schedule_leave(c);
        give_turn(c);
    }
    io->has_turn = NULL;
    io->throttled_until = io->now + wait;
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

/* Frees what dead connections still hold, at a point where no function uses them. A connection in the ready list stays
 * until `serve_ready` has removed it, because the caller may free it after WIRE_CLOSED. */
static void bury(wire_io_thread *io)
{
    for (wire_connection **at = &io->dead; *at;) {
        wire_connection *c = *at;
        if (c->ready) {
            at = &c->next_dead;
            continue;
        }
        *at = c->next_dead;
        wire_h2_free(c);
        wire_parser_free(&c->parser);
        wire_mailbox_emit(io, WIRE_CLOSED, c->owner, 0, NULL);
    }
}

static int sleep_milliseconds(wire_io_thread *io)
{
    double until = -1;
    if (io->ready)
        return 0;
    if (io->active)
        until = io->next_tick;
    if (io->throttled && (until < 0 || io->throttled_until < until))
        until = io->throttled_until;
    if (until < 0)
        return -1;
    double seconds = until - io->now;
    return seconds <= 0 ? 0 : (int)(seconds * 1000) + 1;
}

/* Blocks signals in this thread. The interpreter's main thread handles them, and SIGPIPE must not end the process.
 * Faults stay unblocked: the guard of mapped files (guard.c) needs SIGBUS. */
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

void wire_io_thread_run(wire_io_thread *io)
{
    struct epoll_event events[64];
    pthread_setname_np(pthread_self(), "cosxfer-wire");
    leave_signals_to_others();
    while (!atomic_load(&io->stopping)) {
        int count = epoll_wait(io->epoll_fd, events, 64, sleep_milliseconds(io));
        io->now = wire_now();
        for (int i = 0; i < count; i++) {
            wire_connection *c = events[i].data.ptr;
            if (!c) {
                uint64_t value;
                while (read(io->wake_fd, &value, sizeof value) < 0 && errno == EINTR)
                    ;
                run_commands(io);
            } else if (!c->dead) {
                socket_event(c, events[i].events);
            }
        }
        if (io->throttled && io->now >= io->throttled_until)
            give_turns(io);
        serve_ready(io);
        if (io->active && io->now >= io->next_tick)
            tick(io);
        if (!io->active)
            tell_unacknowledged(io, 0);
        bury(io);
        wire_mailbox_publish(io);
    }
    while (io->connections)
        wire_close_now(io->connections, WIRE_CANCELLED, "the client is closed");
    run_commands(io);
    while (io->connections)
        wire_close_now(io->connections, WIRE_CANCELLED, "the client is closed");
    tell_unacknowledged(io, 0);
    wire_schedule_forget_ready(io);
    bury(io);
    wire_mailbox_publish(io);
}

void wire_io_thread_release(wire_io_thread *io)
{
    int *fds[] = {&io->epoll_fd, &io->wake_fd, &io->notify_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        int fd = *fds[i];
        *fds[i] = -1; /* a later command must not write to a descriptor with a new owner */
        if (fd >= 0)
            close(fd);
    }
}

void wire_io_thread_free(wire_io_thread *io)
{
    run_commands(io);
    wire_schedule_forget_ready(io);
    bury(io);
    wire_mailbox_publish(io);
    for (wire_event *next, *event = io->published; event; event = next) {
        next = event->next;
        wire_event_free(event);
    }
    wire_io_thread_release(io);
    while (io->spare.count)
        free(io->spare.blocks[--io->spare.count]);
    free(io->input);
    free(io->gather);
    free(io->scratch);
    pthread_mutex_destroy(&io->lock);
    free(io);
}
