#include "bar.h"

#include <stdio.h>
#include <unistd.h>

#include "text.h"

#define WIDTH 40

static void draw(void *context, uint64_t done, uint64_t total) {
    char so_far[TEXT_MAX], bar[WIDTH + 1];
    text_grouped((ledger_sum)done, so_far);
    if (total == 0) {
        fprintf(stderr, "\r%s %s\033[K", (const char *)context, so_far);
        fflush(stderr);
        return;
    }
    uint64_t part = done < total ? done * WIDTH / total : WIDTH;
    for (uint64_t i = 0; i < WIDTH; i++)
        bar[i] = i < part ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %s\033[K", (const char *)context, bar, so_far);
    fflush(stderr);
}

struct job bar_begin(const char *what) {
    struct job job = {.context = (void *)what};
    if (isatty(STDERR_FILENO))
        job.progress = draw;
    return job;
}

void bar_end(const struct job *job) {
    if (job->progress != NULL && job->told_at_us != 0)
        fputs("\r\033[K", stderr);
}
