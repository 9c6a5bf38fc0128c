/* A process-wide guard against SIGBUS: reading a page of a mapped file that no longer exists.
 *
 * A registered mapping whose file is cut reads as zeros from the lost page on, and its `lost` flag is set; a fault
 * anywhere else goes to whatever handled SIGBUS before.
 */
#ifndef COSX_GUARD_H
#define COSX_GUARD_H

#include <stddef.h>
#include <stdint.h>

typedef struct cosx_mapping cosx_mapping;

/* Installs the handler, or puts it back on top where someone has replaced it. 0, or -1 with errno. */
int cosx_guard_install(void);
/* Registers [address, address + size). NULL without memory. */
cosx_mapping *cosx_guard_add(void *address, size_t size);
/* To be called before the range is unmapped. */
void cosx_guard_remove(cosx_mapping *mapping);
int cosx_guard_lost(const cosx_mapping *mapping);

#endif
