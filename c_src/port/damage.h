/* Damaged pages: they have no checksums, and LMDB follows what they say. One that was overwritten
 * may lead beyond the file, or to an assertion; the process cannot go on then, but it can say why.
 *
 * Nothing of ours is in the way of ending at once: what is unfinished has no name yet.
 *
 * Thread class: any. */
#ifndef PORT_DAMAGE_H
#define PORT_DAMAGE_H

#include <stdint.h>

/* Of a command: one line on standard error, and that exit status. */
void damage_ends_command(int status);

/* Of the port: no line, and an exit status that says which job it was of. */
#define DAMAGE_STATUS 64
#define DAMAGE_JOBS 64 /* DAMAGE_STATUS + id % DAMAGE_JOBS */
void damage_ends_port(void);
/* For which job the calling thread works; a thread that it makes has to be told. */
void damage_is_of(uint64_t id);
uint64_t damage_job(void);

#endif
