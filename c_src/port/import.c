#include "import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lmdb.h>

#include "../core/gate.h"
#include "columns.h"
#include "import_file.h"

#define BATCH_RECORDS 256
#define BATCH_BYTES (4 << 20)
#define MAP_SIZE (UINT64_C(1) << 40)
#define ENTRY_BYTES_MAX (64 << 20)
#define CLIENT_ID_BYTES 80

/* Records that wait for one transaction. */
struct batch_of_records {
    size_t count;
    size_t bytes;
    struct ledger_request requests[BATCH_RECORDS];
    struct entry_buffer drafts[BATCH_RECORDS];
    uint8_t digests[BATCH_RECORDS][ENTRY_DIGEST_BYTES];
    uint64_t lines[BATCH_RECORDS];
};

struct import {
    struct import_request *request;
    struct job *job;
    struct ledger_failure *failure;
    struct import_file file;
    struct ledger *ledger;
    enum clock_mode clock;
    int64_t now_us;
    uint64_t last_id; /* of the ledger, or of the record before, in the first reading */
    bool as_they_were;
    uint64_t not_after; /* line of the first record that cannot keep its id */
    uint64_t not_work;  /* line of the first that can only be booked as it was; 0: none */
    bool is_there;      /* of the record that is looked at */
    bool is_the_same;
    struct entry_buffer drafts[2];
    struct batch_of_records *batch;
};

static int fail_at(struct import *import, uint64_t line, int code) {
    struct ledger_failure cause = *import->failure;
    bool has_cause = cause.code == code && cause.detail[0] != '\0';
    return ledger_fail(import->failure, code, "line %" PRIu64 "%s%.600s", line,
                       has_cause ? ": " : "", has_cause ? cause.detail : "");
}

/* ---- what is there ------------------------------------------------------------------------ */

/* What the entry says, without what binds it to its payload, and without the payload. */
static int write_bare(const struct ledger_entry *entry, struct entry_buffer *buffer) {
    struct ledger_entry bare = *entry;
    buffer->size = 0;
    buffer->failed = false;
    bare.payload = (struct ledger_text){0};
    bare.salt = NULL;
    bare.given &= ~(uint32_t)ENTRY_DIGEST;
    return entry_write_draft(buffer, &bare);
}

static void compare(void *context, const struct ledger_entry *entry,
                    const struct ledger_payload *payload) {
    struct import *import = context;
    const struct ledger_entry *read = &import->file.record.entry;
    struct entry_buffer *drafts = import->drafts;
    (void)payload;
    import->is_there = true;
    if (import->request->format == IMPORT_CSV) {
        import->is_the_same = true; /* its columns need not tell all of it */
        return;
    }
    bool same_digest =
        (entry->digest == NULL) == (read->digest == NULL) &&
        (entry->digest == NULL || memcmp(entry->digest, read->digest, ENTRY_DIGEST_BYTES) == 0);
    import->is_the_same = same_digest && write_bare(read, &drafts[0]) == 0 &&
                          write_bare(entry, &drafts[1]) == 0 && drafts[0].size == drafts[1].size &&
                          memcmp(drafts[0].data, drafts[1].data, drafts[0].size) == 0;
}

/* By its id, where the entry there is this one, or by what its caller calls it. */
static int look_up(struct import *import, bool *known) {
    const struct ledger_entry *entry = &import->file.record.entry;
    uint64_t id;
    int rc = 0;
    *known = import->is_there = import->is_the_same = false;
    if (import->ledger == NULL)
        return 0;
    if (entry->id != 0) {
        rc = ledger_read_record(import->ledger, entry->id, compare, import);
        *known = rc == 0 && import->is_the_same;
    }
    if ((rc == 0 || rc == MDB_NOTFOUND) && !*known) {
        rc = ledger_find_known(import->ledger, entry->client_id, entry->run_id, &id);
        *known = rc == 0;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- the first reading ----------------------------------------------------------------------- */

static bool is_work(const struct record *record) {
    const struct ledger_entry *entry = &record->entry;
    bool is_record = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
    return is_record && entry->link == 0 && entry->hold == 0 && entry->parent == 0 &&
           entry->policy_version == 0 && record->redacted_by == 0 && entry->change.data == NULL &&
           (entry->flags & ~(uint64_t)ENTRY_OVERRUN) == 0;
}

static int check_record(struct import *import) {
    const struct record *record = &import->file.record;
    const struct ledger_entry *entry = &record->entry;
    struct ledger_text state = entry->names[DIMENSION_STATE];
    const struct ledger_policy *seed = &import->file.header.policy;
    bool known, is_declared = state.data == NULL;
    int rc = look_up(import, &known);
    if (rc != 0 || known)
        return rc;
    if (!is_declared)
        is_declared = import->ledger == NULL ? policy_state(seed, state) >= 0
                                             : ledger_state(import->ledger, state) >= 0;
    if (!is_declared)
        return ledger_fail(import->failure, LEDGER_E_UNDECLARED_STATE, "%.*s",
                           (int)(state.size < 64 ? state.size : 64), state.data);
    if ((entry->given & ENTRY_OCCURRED_AT && entry->occurred_at_ms > import->now_us / 1000) ||
        record->timestamp_ms > import->now_us / 1000)
        return ledger_fail(import->failure, LEDGER_E_OCCURS_AHEAD, "created_at or occurred_at");
    if (import->as_they_were &&
        (entry->id <= import->last_id || entry->id > (uint64_t)import->now_us)) {
        import->as_they_were = false;
        import->not_after = import->file.line;
    }
    import->last_id = entry->id;
    if (import->not_work == 0 && !is_work(record))
        import->not_work = import->file.line;
    if (import->request->format == IMPORT_CSV && !is_work(record))
        return ledger_fail(import->failure, LEDGER_E_BAD_ENTRY,
                           "only invocations and runs that refer to nothing can be imported from "
                           "CSV; use JSON Lines");
    return 0;
}

/* Every record once, with its line in what fails. */
static int each_record(struct import *import, int (*look)(struct import *)) {
    int rc;
    while ((rc = import_file_next(&import->file, import->failure)) == 0) {
        rc = look(import);
        if (rc != 0)
            break;
        if (!job_goes_on(import->job, import_file_at(&import->file), import->file.size))
            return ledger_fail(import->failure, ECANCELED, "the import");
    }
    return rc == EOF ? 0 : fail_at(import, import->file.line, rc);
}

static int check_all(struct import *import) {
    import->as_they_were = true;
    int rc = each_record(import, check_record);
    if (rc == 0 && !import->as_they_were && import->not_work != 0)
        rc = ledger_fail(import->failure, LEDGER_E_BAD_ENTRY,
                         "line %" PRIu64 " cannot keep its id (it is not above all that are there, "
                         "or ahead of ledger time), so all would be booked now; but line %" PRIu64
                         " is not a record that stands alone: import into an empty directory, or "
                         "export with --kind invocation,run",
                         import->not_after, import->not_work);
    return rc;
}

/* ---- the second ------------------------------------------------------------------------------ */

static int commit(struct import *import, struct ledger_request *requests, size_t count,
                  int64_t now_us) {
    struct ledger_batch batch = {.requests = requests, .count = count, .now_us = now_us};
    struct ledger_effects effects;
    int rc = ledger_commit(import->ledger, &batch, &effects, import->failure);
    ledger_effects_free(&effects);
    return rc;
}

static int flush(struct import *import) {
    struct batch_of_records *batch = import->batch;
    int64_t now_us = import->now_us;
    int rc = 0;
    if (batch->count == 0)
        return 0;
    if (import->as_they_were)
        now_us = (int64_t)batch->requests[batch->count - 1].hold;
    rc = commit(import, batch->requests, batch->count, now_us);
    for (size_t i = 0; i < batch->count; i++) {
        const struct ledger_request *done = &batch->requests[i];
        bool repeated = done->rc == 0 && done->repeated;
        import->request->imported += done->rc == 0 && !repeated;
        import->request->skipped += repeated;
        if (rc == 0 && done->rc != 0) {
            import->failure->detail[0] = '\0';
            rc = fail_at(import, batch->lines[i], done->rc);
        }
    }
    batch->count = batch->bytes = 0;
    return rc;
}

/* As a caller would record it now. */
static int write_anew(const struct import *import, struct entry_buffer *draft) {
    const struct record *record = &import->file.record;
    struct ledger_entry entry = record->entry;
    char client_id[CLIENT_ID_BYTES];
    entry.given &= ~(uint32_t)(ENTRY_DIGEST | ENTRY_REQUEST_DIGEST);
    entry.digest = entry.request_digest = entry.salt = NULL;
    entry.flags = 0;
    if (!(entry.given & ENTRY_OCCURRED_AT) && record->timestamp_ms > 0) {
        entry.given |= ENTRY_OCCURRED_AT;
        entry.occurred_at_ms = record->timestamp_ms;
    }
    if (entry.client_id.data == NULL) {
        if (entry.id != 0)
            snprintf(client_id, sizeof client_id, "import:%" PRIu64, entry.id);
        else
            snprintf(client_id, sizeof client_id, "import:%" PRIu64 ":%s", import->file.line,
                     import->file.digest);
        entry.client_id = (struct ledger_text){client_id, strlen(client_id)};
    }
    return entry_write_request(draft, &entry, (struct ledger_text){0});
}

static int write_draft(struct import *import, struct entry_buffer *draft) {
    const struct record *record = &import->file.record;
    draft->size = 0;
    draft->failed = false;
    if (!import->as_they_were)
        return write_anew(import, draft);
    if (import->request->format == IMPORT_CSV)
        return entry_write_request(draft, &record->entry, (struct ledger_text){0});
    return record_write_import(record, draft);
}

static int book_record(struct import *import) {
    const struct record *record = &import->file.record;
    struct batch_of_records *batch = import->batch;
    size_t at = batch->count;
    bool known;
    int rc = look_up(import, &known);
    import->request->skipped += rc == 0 && known;
    if (rc != 0 || known)
        return rc;
    rc = write_draft(import, &batch->drafts[at]);
    if (rc != 0)
        return rc;
    batch->lines[at] = import->file.line;
    batch->requests[at] = (struct ledger_request){
        .operation = import->as_they_were ? OPERATION_IMPORT : OPERATION_RECORD,
        .draft = batch->drafts[at].data,
        .size = batch->drafts[at].size,
        .hold = import->as_they_were ? record->entry.id : 0,
        .redacted_by = record->redacted_by};
    if (record->redacted_by != 0) {
        memcpy(batch->digests[at], record->entry.digest, ENTRY_DIGEST_BYTES);
        batch->requests[at].text =
            (struct ledger_text){(const char *)batch->digests[at], ENTRY_DIGEST_BYTES};
    }
    batch->count++;
    batch->bytes += batch->drafts[at].size;
    return batch->count == BATCH_RECORDS || batch->bytes >= BATCH_BYTES ? flush(import) : 0;
}

static int book_all(struct import *import) {
    import->batch = calloc(1, sizeof *import->batch);
    if (import->batch == NULL)
        return ledger_fail(import->failure, ENOMEM, "a batch");
    int rc = import_file_rewind(&import->file, import->failure);
    if (rc == 0)
        rc = each_record(import, book_record);
    if (rc == 0)
        rc = flush(import);
    for (size_t i = 0; i < BATCH_RECORDS; i++)
        entry_buffer_free(&import->batch->drafts[i]);
    free(import->batch);
    return rc;
}

/* ---- the ledger -------------------------------------------------------------------------------
 */

static bool has_ledger(const char *directory) {
    char path[4096];
    struct stat data;
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    return stat(path, &data) == 0 && data.st_size > 0;
}

static int open_ledger(struct import *import, bool is_new) {
    static const struct ledger_policy nothing = {.version = 1};
    const struct record_header *header = &import->file.header;
    const struct ledger_options options = {.directory = import->request->directory,
                                           .holder = "cost_ledger import",
                                           .currency = is_new ? header->currency : "USD",
                                           .map_size = MAP_SIZE,
                                           .max_entry_size = ENTRY_BYTES_MAX,
                                           .readers = 2,
                                           .meta_sync = true,
                                           .clock = import->clock,
                                           .created_at_us = is_new ? header->created_at_us : 0,
                                           .policy = is_new ? &header->policy : &nothing,
                                           .series = header->series,
                                           .series_count = is_new ? header->series_count : 0};
    struct ledger_opened opened;
    return ledger_open(&options, &import->ledger, &opened, import->failure);
}

/* A ledger that its owner sets the time of keeps it; others go with the clock of the machine. */
static void prepare_time(struct import *import, bool is_new) {
    struct gate_past past;
    import->clock = CLOCK_MODE_SYSTEM;
    import->now_us = clock_wall_us();
    if (is_new)
        return;
    gate_read_past(import->request->directory, &past);
    if (past.is_manual)
        import->clock = CLOCK_MODE_MANUAL;
}

static int check_currency(struct import *import) {
    struct ledger_facts facts;
    const struct import_file *file = &import->file;
    int rc = ledger_facts(import->ledger, &facts);
    if (rc != 0)
        return ledger_fail(import->failure, rc, "reading the ledger");
    import->last_id = facts.last_id;
    if (file->has_header && strcmp(file->header.currency, facts.currency) != 0)
        return ledger_fail(import->failure, EINVAL,
                           "the file is in %s, the ledger in %s: one ledger has one currency",
                           file->header.currency, facts.currency);
    return 0;
}

/* Everything in it is checked first: nothing may be made for a file that cannot be read. */
static int import_to_new(struct import *import) {
    if (!import->file.has_header)
        return ledger_fail(import->failure, ENOENT,
                           "%s: there is no ledger yet, and only JSON Lines with a header, as an "
                           "export writes it, can begin one",
                           import->request->directory);
    int rc = check_all(import);
    if (rc == 0)
        rc = open_ledger(import, true);
    return rc == 0 ? book_all(import) : rc;
}

static int import_to_old(struct import *import) {
    int rc = open_ledger(import, false);
    if (rc == 0)
        import->now_us = ledger_now(import->ledger);
    /* What is due in it ends before anything is looked at: that takes ids. */
    if (rc == 0)
        rc = commit(import, NULL, 0, import->now_us);
    if (rc == 0)
        rc = check_currency(import);
    if (rc == 0)
        rc = check_all(import);
    return rc == 0 ? book_all(import) : rc;
}

int import_run(struct job *job, struct import_request *request, struct ledger_failure *failure) {
    struct import import = {.request = request, .job = job, .failure = failure};
    bool is_new = !has_ledger(request->directory);
    request->imported = request->skipped = 0;
    failure->code = 0;
    failure->detail[0] = '\0';
    int rc = import_file_open(&import.file, request->file, request->format, failure);
    prepare_time(&import, is_new);
    if (rc == 0)
        rc = is_new ? import_to_new(&import) : import_to_old(&import);
    request->as_they_were = import.as_they_were;
    if (import.ledger != NULL) {
        ledger_close(import.ledger);
        ledger_free(import.ledger);
    }
    import_file_close(&import.file);
    entry_buffer_free(&import.drafts[0]);
    entry_buffer_free(&import.drafts[1]);
    return rc;
}
