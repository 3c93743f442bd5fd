#include "damage.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t status_of_command;
static _Thread_local volatile uint64_t job;

static void end_command(int number) {
    static const char said[] =
        "cost_ledger: data.mdb is damaged: a page of it cannot be read; restore a backup\n";
    (void)number;
    (void)!write(STDERR_FILENO, said, sizeof said - 1);
    _exit(status_of_command);
}

/* The thread that met it is the one that is interrupted. */
static void end_port(int number) {
    (void)number;
    _exit(DAMAGE_STATUS + (int)(job % DAMAGE_JOBS));
}

static void handle(void (*handler)(int)) {
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
    struct sigaction action = {.sa_handler = handler};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

void damage_ends_command(int status) {
    status_of_command = status;
    handle(end_command);
}

void damage_ends_port(void) {
    handle(end_port);
}

void damage_is_of(uint64_t id) {
    job = id;
}

uint64_t damage_job(void) {
    return job;
}
