#include "frames.h"

#include <errno.h>
#include <msgpack.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../core/bytes.h"
#include "../core/pack.h"
#include "damage.h"
#include "job.h"
#include "jobs.h"
#include "request.h"

#define NICENESS 10
#define LINGER_US 800000

/* One job that is running; the slot is guarded by `mutex`. */
struct slot {
    bool taken;
    struct job job;
    struct request request;
};

static struct {
    pthread_mutex_t mutex; /* the slots */
    pthread_mutex_t output;
    int fd; /* the port's own copy of standard output */
    struct slot slots[JOBS_MAX];
} port = {.mutex = PTHREAD_MUTEX_INITIALIZER, .output = PTHREAD_MUTEX_INITIALIZER};

/* ---- writing ------------------------------------------------------------------------------- */

static bool write_all(int fd, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        at += written;
        size -= (size_t)written;
    }
    return true;
}

/* Nobody reads any more: the end of standard input says so as well. */
static void send_frame(struct entry_buffer *frame) {
    uint8_t head[4];
    put_be32(head, (uint32_t)frame->size);
    pthread_mutex_lock(&port.output);
    bool sent = !frame->failed && frame->size <= FRAME_BYTES_MAX &&
                write_all(port.fd, head, sizeof head) &&
                write_all(port.fd, frame->data, frame->size);
    (void)sent;
    pthread_mutex_unlock(&port.output);
    entry_buffer_free(frame);
}

static void begin_frame(msgpack_packer *packer, struct entry_buffer *frame, size_t count,
                        uint64_t id, const char *word) {
    msgpack_packer_init(packer, frame, entry_buffer_append);
    msgpack_pack_array(packer, count);
    msgpack_pack_uint64(packer, id);
    pack_word(packer, word);
}

static void send_hello(void) {
    struct entry_buffer frame = {0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &frame, entry_buffer_append);
    msgpack_pack_array(&packer, 3);
    pack_word(&packer, "hello");
    msgpack_pack_int(&packer, FRAME_PROTOCOL);
    pack_word(&packer, "0.1.0");
    send_frame(&frame);
}

static void send_error(uint64_t id, const char *name, const char *text) {
    struct entry_buffer frame = {0};
    msgpack_packer packer;
    begin_frame(&packer, &frame, 4, id, "error");
    pack_word(&packer, name);
    pack_word(&packer, text);
    send_frame(&frame);
}

static void send_failure(uint64_t id, const struct ledger_failure *failure) {
    char sentence[256], text[768];
    ledger_error_text(failure->code, sentence, sizeof sentence);
    snprintf(text, sizeof text, failure->detail[0] != '\0' ? "%s (%s)" : "%s", sentence,
             failure->detail);
    send_error(id, ledger_error_name(failure->code), text);
}

static void send_ok(uint64_t id, const struct job_result *result) {
    struct entry_buffer frame = {0};
    msgpack_packer packer;
    begin_frame(&packer, &frame, 3, id, "ok");
    jobs_pack_result(&packer, result);
    send_frame(&frame);
}

static void send_progress(void *context, uint64_t done, uint64_t total) {
    const struct slot *slot = context;
    struct entry_buffer frame = {0};
    msgpack_packer packer;
    begin_frame(&packer, &frame, 4, slot->request.id, "progress");
    msgpack_pack_uint64(&packer, done);
    msgpack_pack_uint64(&packer, total);
    send_frame(&frame);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void *run(void *context) {
    struct slot *slot = context;
    struct ledger_failure failure = {0};
    struct job_result result = {0};
    uint64_t id = slot->request.id;
    damage_is_of(id);
    int rc = jobs_run(&slot->job, &slot->request, &result, &failure);
    if (rc == 0)
        send_ok(id, &result);
    else
        send_failure(id, &failure);
    jobs_free_result(&result);
    pthread_mutex_lock(&port.mutex);
    request_free(&slot->request);
    slot->taken = false;
    pthread_mutex_unlock(&port.mutex);
    return NULL;
}

static struct slot *find(uint64_t id) {
    for (int i = 0; i < JOBS_MAX; i++)
        if (port.slots[i].taken && port.slots[i].request.id == id)
            return &port.slots[i];
    return NULL;
}

static struct slot *find_free(void) {
    for (int i = 0; i < JOBS_MAX; i++)
        if (!port.slots[i].taken)
            return &port.slots[i];
    return NULL;
}

/* With `mutex` held. NULL, or why it cannot begin; then the request stays the caller's. */
static const char *start(struct request *request) {
    struct slot *slot = find_free();
    pthread_t thread;
    if (find(request->id) != NULL)
        return "a job of that id is running";
    if (slot == NULL)
        return "too many jobs are running";
    memset(&slot->job, 0, sizeof slot->job);
    slot->job.progress = send_progress;
    slot->job.context = slot;
    slot->request = *request;
    slot->request.filter.names = slot->request.names;
    slot->taken = true;
    if (pthread_create(&thread, NULL, run, slot) != 0) {
        slot->taken = false;
        return "no thread could be started";
    }
    pthread_detach(thread);
    return NULL;
}

static void take_frame(const char *frame, size_t size) {
    struct request request;
    const char *wrong = request_read(frame, size, &request);
    uint64_t id = request.id;
    bool is_taken = false;
    pthread_mutex_lock(&port.mutex);
    struct slot *slot = wrong == NULL && request.is_cancel ? find(id) : NULL;
    if (slot != NULL)
        atomic_store(&slot->job.cancelled, true);
    if (wrong == NULL && !request.is_cancel) {
        wrong = start(&request);
        is_taken = wrong == NULL;
    }
    pthread_mutex_unlock(&port.mutex);
    if (wrong != NULL)
        send_error(id, "bad_request", wrong);
    if (!is_taken)
        request_free(&request);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* False at the end of file, also in the middle. */
static bool read_all(int fd, void *bytes, size_t size) {
    char *at = bytes;
    while (size > 0) {
        ssize_t got = read(fd, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static bool any_running(void) {
    bool any = false;
    pthread_mutex_lock(&port.mutex);
    for (int i = 0; i < JOBS_MAX; i++) {
        any = any || port.slots[i].taken;
        atomic_store(&port.slots[i].job.cancelled, true);
    }
    pthread_mutex_unlock(&port.mutex);
    return any;
}

/* Jobs that end in time clean up after themselves; nothing keeps the process longer. */
static void wind_up(void) {
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t until_us = clock_boottime_us() + LINGER_US;
    while (any_running() && clock_boottime_us() < until_us)
        nanosleep(&pause, NULL);
}

int frames_main(void) {
    uint8_t head[4];
    char *frame = malloc(FRAME_BYTES_MAX);
    signal(SIGPIPE, SIG_IGN);
    damage_ends_port();
    /* Where processors are short, they are the VM's: its jobs can wait. */
    (void)!nice(NICENESS);
    port.fd = dup(STDOUT_FILENO);
    if (frame == NULL || port.fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 3;
    send_hello();
    while (read_all(STDIN_FILENO, head, sizeof head)) {
        size_t size = get_be32(head);
        if (size > FRAME_BYTES_MAX || !read_all(STDIN_FILENO, frame, size))
            break;
        take_frame(frame, size);
    }
    wind_up();
    /* Threads may still run: no destructors, no waiting. */
    _exit(0);
}
