#include "wire_mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void wire_event_free(wire_event *event)
{
    free(event->data);
    free(event);
}

void wire_mailbox_poke(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

int wire_mailbox_post(wire_io_thread *io, wire_command what, int quietly)
{
    wire_command *command = malloc(sizeof *command);
    if (!command)
        return -1;
    *command = what;
    command->next = NULL;
    pthread_mutex_lock(&io->lock);
    int wake = io->commands == NULL || io->owed;
    io->owed = wake && quietly;
    *io->commands_end = command;
    io->commands_end = &command->next;
    pthread_mutex_unlock(&io->lock);
    if (wake && !quietly)
        wire_mailbox_poke(io->wake_fd);
    return 0;
}

void wire_mailbox_announce(wire_io_thread *io)
{
    pthread_mutex_lock(&io->lock);
    int owed = io->owed;
    io->owed = 0;
    pthread_mutex_unlock(&io->lock);
    if (owed)
        wire_mailbox_poke(io->wake_fd);
}

wire_command *wire_mailbox_take_commands(wire_io_thread *io)
{
    pthread_mutex_lock(&io->lock);
    wire_command *commands = io->commands;
    io->commands = NULL;
    io->commands_end = &io->commands;
    io->owed = 0;
    pthread_mutex_unlock(&io->lock);
    return commands;
}

void wire_mailbox_emit(wire_io_thread *io, int kind, void *owner, int64_t number, char *data)
{
    wire_event *event = malloc(sizeof *event);
    if (!event)
        abort(); /* without the event a call would never return */
    *event = (wire_event){.kind = kind, .owner = owner, .number = number, .data = data};
    *io->events_end = event;
    io->events_end = &event->next;
}

void wire_mailbox_publish(wire_io_thread *io)
{
    if (!io->events)
        return;
    pthread_mutex_lock(&io->lock);
    int first = io->published == NULL;
    *io->published_end = io->events;
    io->published_end = io->events_end;
    pthread_mutex_unlock(&io->lock);
    io->events = NULL;
    io->events_end = &io->events;
    if (first)
        wire_mailbox_poke(io->notify_fd);
}

wire_event *wire_mailbox_take_events(wire_io_thread *io)
{
    uint64_t count;
    while (read(io->notify_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&io->lock);
    wire_event *events = io->published;
    io->published = NULL;
    io->published_end = &io->published;
    pthread_mutex_unlock(&io->lock);
    return events;
}
