#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char gate_magic[8] = "CLGATE\0\1";

static int path_of(const char *directory, const char *file, char path[PATH_MAX]) {
    return snprintf(path, PATH_MAX, "%s/%s", directory, file) < PATH_MAX ? 0 : ENAMETOOLONG;
}

/* 0 where the complement does not fit. */
static int64_t seen_us(const struct gate_seen *seen) {
    int64_t us = atomic_load(&seen->us);
    return us == ~atomic_load(&seen->complement) && us > 0 ? us : 0;
}

void gate_see(struct gate_page *page, int64_t now_us) {
    struct gate_seen *seen = page->header.last_seen;
    struct gate_seen *older = seen_us(&seen[0]) <= seen_us(&seen[1]) ? &seen[0] : &seen[1];
    atomic_store(&older->us, now_us);
    atomic_store(&older->complement, ~now_us);
}

void gate_read_past(const char *directory, struct gate_past *past) {
    char path[PATH_MAX];
    struct gate_header header;
    *past = (struct gate_past){0};
    if (path_of(directory, "gate", path) != 0)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (pread(fd, &header, sizeof header, 0) == (ssize_t)sizeof header &&
        memcmp(header.magic, gate_magic, sizeof gate_magic) == 0) {
        for (int i = 0; i < 2; i++) {
            int64_t seen = seen_us(&header.last_seen[i]);
            if (seen > past->last_seen_us)
                past->last_seen_us = seen;
        }
        past->last_id = atomic_load(&header.last_id);
        past->is_manual = atomic_load(&header.clock.mode) == CLOCK_MODE_MANUAL;
    }
    close(fd);
}

/* posix_fallocate: on a full disk this fails here, and not as a SIGBUS at the first store. */
static int make(const char *path, struct gate_page **page) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int rc = posix_fallocate(fd, 0, sizeof **page);
    if (rc == 0) {
        void *map = mmap(NULL, sizeof **page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            rc = errno;
        else
            *page = map;
    }
    close(fd);
    return rc;
}

static int make_in_memory(struct gate_page **page) {
    void *map =
        mmap(NULL, sizeof **page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return errno;
    *page = map;
    return 0;
}

static int fill(struct gate_page *page, const struct gate_past *past, const uint8_t *boot_id) {
    struct gate_header *header = &page->header;
    if (boot_id != NULL)
        memcpy(header->boot_id, boot_id, sizeof header->boot_id);
    else if (getrandom(header->boot_id, sizeof header->boot_id, 0) != sizeof header->boot_id)
        return errno;
    gate_see(page, past->last_seen_us);
    atomic_store(&header->last_id, past->last_id);
    memcpy(header->magic, gate_magic, sizeof gate_magic);
    return 0;
}

int gate_open(const char *directory, const struct gate_past *past, const uint8_t *boot_id,
              struct gate_page **page, bool *in_memory, struct ledger_failure *failure) {
    char path[PATH_MAX] = "", temporary[PATH_MAX] = "";
    *page = NULL;
    *in_memory = false;
    int rc = path_of(directory, "gate", path);
    if (rc == 0)
        rc = path_of(directory, "gate.new", temporary);
    if (rc == 0)
        rc = make(temporary, page);
    if (rc == ENOSPC || rc == EDQUOT) {
        unlink(temporary);
        *in_memory = true;
        rc = make_in_memory(page);
    }
    if (rc == 0)
        rc = fill(*page, past, boot_id);
    if (rc == 0 && !*in_memory && rename(temporary, path) != 0)
        rc = errno;
    if (rc != 0) {
        gate_close(*page);
        *page = NULL;
        return ledger_fail(failure, rc, "%s/gate", directory);
    }
    /* Only what the gate reads; a refusal (RLIMIT_MEMLOCK) costs no correctness. */
    (void)mlock(*page, offsetof(struct gate_page, names));
    return 0;
}

int gate_look(const char *directory, struct gate_page **page) {
    char path[PATH_MAX];
    struct stat file;
    *page = NULL;
    int rc = path_of(directory, "gate", path);
    int fd = rc == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return rc != 0 ? rc : errno;
    if (fstat(fd, &file) != 0)
        rc = errno;
    else if (file.st_size < (off_t)sizeof **page)
        rc = LEDGER_E_DAMAGED;
    void *map = rc == 0 ? mmap(NULL, sizeof **page, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (rc == 0 && map == MAP_FAILED)
        rc = errno;
    close(fd);
    if (rc != 0)
        return rc;
    *page = map;
    if (memcmp((*page)->header.magic, gate_magic, sizeof gate_magic) == 0)
        return 0;
    gate_close(*page);
    *page = NULL;
    return LEDGER_E_DAMAGED;
}

int gate_imagine(int64_t now_us, struct gate_page **page) {
    *page = NULL;
    int rc = make_in_memory(page);
    if (rc == 0)
        clock_start(&(*page)->header.clock, CLOCK_MODE_MANUAL, now_us, 0);
    return rc;
}

void gate_close(struct gate_page *page) {
    if (page != NULL)
        munmap(page, sizeof *page);
}

void gate_declare(struct gate_page *page, const struct ledger_policy *policy) {
    uint32_t count = atomic_load(&page->header.state_count);
    for (; count < policy->state_count; count++) {
        struct ledger_text state = policy->states[count];
        page->names[count].size = (uint16_t)state.size;
        memcpy(page->names[count].text, state.data, state.size);
    }
    atomic_store_explicit(&page->header.state_count, count, memory_order_release);
}
