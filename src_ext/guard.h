/* A process-wide guard against SIGBUS: reading a page of a mapped file that no longer exists.
 *
 * If the file of a registered mapping is cut, the mapping reads as zeros from the lost page on, and its `lost` flag is
 * set. Any other fault goes to the handler that SIGBUS had before.
 */
#ifndef COSX_GUARD_H
#define COSX_GUARD_H

#include <stddef.h>
#include <stdint.h>

typedef struct cosx_mapping cosx_mapping;

/* Installs the handler, or installs it again if another one has replaced it. 0, or -1 with errno. */
int cosx_guard_install(void);
/* Registers [address, address + size). NULL: no memory. */
cosx_mapping *cosx_guard_add(void *address, size_t size);
/* Call this before the range is unmapped. */
void cosx_guard_remove(cosx_mapping *mapping);
int cosx_guard_lost(const cosx_mapping *mapping);

#endif
