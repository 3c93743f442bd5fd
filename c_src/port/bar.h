/* How far a job is, drawn on standard error where that is a terminal; elsewhere standard error is
 * for what goes wrong alone.
 *
 * Thread class: the job's. */
#ifndef PORT_BAR_H
#define PORT_BAR_H

#include "job.h"

/* A job whose progress is drawn; `what` is said in front. bar_end() when it has ended. */
struct job bar_begin(const char *what);
void bar_end(const struct job *job);

#endif
