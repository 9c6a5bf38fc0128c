#include "wire_close.h"

#include "wire_mailbox.h"
#include "wire_output.h"
#include "wire_pages.h"
#include "wire_request.h"
#include "wire_schedule.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

void wire_close_now(wire_connection *c, int result, const char *why)
{
    wire_io_thread *io = c->io;
    if (c->dead)
        return;
    c->dead = 1;
    if (why && !c->why[0])
        snprintf(c->why, sizeof c->why, "%s", why);
    wire_schedule_leave(c);
    wire_output_drop(c);
    for (wire_request *next, *r = c->requests; r; r = next) {
        next = r->next;
        r->stream_open = 0;
        if (result != WIRE_CANCELLED && wire_request_response_counts(r))
            wire_request_finish(r, WIRE_OK, NULL);
        wire_request_finish(r, !r->begun && (result == WIRE_BROKEN || result == WIRE_MALFORMED) ? WIRE_UNSENT : result,
                            c->why);
    }
    c->current = NULL;
    epoll_ctl(io->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    if (!c->ops)
        close(c->fd);
    if (c->previous)
        c->previous->next = c->next;
    else
        io->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    c->next_dead = io->dead;
    io->dead = c;
}

/* The connection has to end too, because a frame may have been written in part. */
void wire_close_lost_file(wire_connection *c)
{
    int found = 0;
    for (unsigned i = 0; i < c->count; i++) {
        wire_span *s = &c->spans[(c->first + i) % WIRE_SPANS];
        if (s->piece && (s->piece->lost || wire_pages_are_lost(s->piece, s->at, s->length))) {
            wire_request_finish(s->request, WIRE_LOST, "the file was cut while it was being sent");
            found = 1;
        }
    }
    if (found)
        wire_close_now(c, WIRE_BROKEN, "the file of another request was cut while it was being sent");
    else
        wire_close_now(c, WIRE_LOST, "a file was cut while it was being sent");
}

void wire_close_gracefully(wire_connection *c)
{
    if (!c->leaving)
        wire_mailbox_emit(c->io, WIRE_LEAVING, c->owner, 0, NULL);
    c->leaving = 1;
}
