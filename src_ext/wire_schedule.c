#include "wire_schedule.h"

#include "wire_rate.h"

void wire_schedule_ready(wire_connection *c)
{
    if (c->ready || c->dead)
        return;
    c->ready = 1;
    c->next_ready = NULL;
    *c->io->ready_end = c;
    c->io->ready_end = &c->next_ready;
}

void wire_schedule_forget_ready(wire_io_thread *io)
{
    for (wire_connection *c = io->ready; c; c = c->next_ready)
        c->ready = 0;
    io->ready = NULL;
    io->ready_end = &io->ready;
}

size_t wire_schedule_allowed(wire_connection *c, size_t want)
{
    wire_io_thread *io = c->io;
    int others_wait = io->throttled && io->has_turn != c;
    size_t granted = others_wait ? 0 : wire_rate_take(io->rate, io->now, want);
    if (granted)
        return granted;
    if (!io->throttled)
        io->throttled_until = io->now + wire_rate_wait(io->rate, io->now);
    c->throttled = 1;
    c->next_throttled = NULL;
    *io->throttled_end = c;
    io->throttled_end = &c->next_throttled;
    return 0;
}

void wire_schedule_leave(wire_connection *c)
{
    wire_io_thread *io = c->io;
    if (!c->throttled)
        return;
    wire_connection **at = &io->throttled;
    while (*at != c)
        at = &(*at)->next_throttled;
    *at = c->next_throttled;
    if (!*at)
        io->throttled_end = at;
    c->throttled = 0;
}
