/* The companion as a port of the VM: `cost_ledger --port`, frames of {packet, 4}.
 *
 *   frame       size u32, big-endian, at most FRAME_BYTES_MAX; so many bytes: one msgpack array
 *
 *   from the companion, first
 *     ["hello", protocol, version]                  1, "0.1.0"
 *   to the companion
 *     [id, job, {argument: value, ...}]             id: uint, unique among those that are running
 *     [id, "cancel"]
 *   from the companion, of that id; the last two end it
 *     [id, "progress", done, total]                 total 0: not known; ten a second at most
 *     [id, "ok", {...}]
 *     [id, "error", name, text]                     name: as in core/error.c, or "bad_request"
 *
 * End of file on standard input is how the VM tells that it is gone: jobs are cancelled, and the
 * process ends within a second, whatever they do. What is no request, of a frame that is whole, is
 * answered with an error of id 0; a frame that is too large, or ends early, ends the process. So
 * does a job that meets a damaged page, with the exit status 64 + id % 64 (damage.h).
 *
 * Standard output is the port's alone: what a library prints goes to standard error.
 *
 * Threads: one reads frames, one more for each job; writing is guarded by a mutex. */
#ifndef PORT_FRAMES_H
#define PORT_FRAMES_H

#include "../core/ledger.h"

#define FRAME_BYTES_MAX (1 << 20)
#define FRAME_PROTOCOL 1
#define JOBS_MAX 16

/* Until the end of file; the process's exit status. */
int frames_main(void);

#endif
