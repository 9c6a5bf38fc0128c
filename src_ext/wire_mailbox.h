/* The two queues between the caller and the I/O thread: commands in, events out. Each has one lock and one descriptor.
 * Calls no other file of the wire. */
#ifndef WIRE_MAILBOX_H
#define WIRE_MAILBOX_H

#include "wire_state.h"

/* Caller: hands a copy of `what` to the I/O thread and wakes it. `quietly`: a sleeping one is not woken before the next
 * post that is not quiet, or `wire_mailbox_announce`. -1: no memory. */
int wire_mailbox_post(wire_io_thread *io, wire_command what, int quietly);
void wire_mailbox_announce(wire_io_thread *io);
/* I/O thread: all commands so far, oldest first. The I/O thread frees them. */
wire_command *wire_mailbox_take_commands(wire_io_thread *io);
/* I/O thread: adds an event, which `wire_mailbox_publish` shows to the caller. `data` belongs to the event. */
void wire_mailbox_emit(wire_io_thread *io, int kind, void *owner, int64_t number, char *data);
void wire_mailbox_publish(wire_io_thread *io);
/* Caller: all published events, oldest first. The caller frees them. */
wire_event *wire_mailbox_take_events(wire_io_thread *io);
/* Makes an eventfd readable. */
void wire_mailbox_poke(int fd);

#endif
