/* CSV: quoting, what a spreadsheet would run, columns. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/port/columns.h"

static void append(struct entry_buffer *buffer, const char *bytes) {
    entry_buffer_append(buffer, bytes, strlen(bytes));
}

static void assert_written(struct ledger_text cell, const char *expected) {
    struct entry_buffer out = {0};
    struct csv csv;
    csv_begin(&csv, &out);
    csv_text(&csv, cell);
    csv_number(&csv, "-1");
    csv_end(&csv);
    assert_int_equal(out.size, strlen(expected));
    assert_memory_equal(out.data, expected, out.size);
    entry_buffer_free(&out);
}

static void cells_are_quoted_and_neutralised(void **state) {
    (void)state;
    assert_written((struct ledger_text){0}, ",-1\r\n");
    assert_written(text(""), "\"\",-1\r\n");
    assert_written(text("a"), "a,-1\r\n");
    assert_written(text("a,\"b\"\n"), "\"a,\"\"b\"\"\n\",-1\r\n");
    assert_written(text("=1+1"), "'=1+1,-1\r\n");
    assert_written(text("-1"), "'-1,-1\r\n");
    assert_written(text("'a"), "''a,-1\r\n");
    assert_written(text("\r"), "\"'\r\",-1\r\n");
    assert_written(text("a=1"), "a=1,-1\r\n");
}

/* Whatever bytes there are, two cells a row. */
static void hostile_texts_come_back(void **state) {
    static const char alphabet[] = "=+-@\t\r'\",;\n a\0\xff";
    char cells[400][8];
    size_t sizes[400], count = 2 * (rounds(200));
    struct entry_buffer out = {0};
    struct csv_row row = {0};
    struct csv csv;
    const char *wrong;
    (void)state;
    csv_begin(&csv, &out);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = random_below(8);
        for (size_t k = 0; k < sizes[i]; k++)
            cells[i][k] = alphabet[random_below(sizeof alphabet - 1)];
        csv_text(&csv, (struct ledger_text){cells[i], sizes[i]});
        if (i % 2 == 1)
            csv_end(&csv);
    }
    FILE *file = fmemopen(out.data, out.size, "r");
    for (size_t i = 0; i < count; i++) {
        if (i % 2 == 0)
            assert_int_equal(csv_read(file, &row, &wrong), 0);
        assert_int_equal(row.count, 2);
        struct ledger_text cell = csv_undo(csv_cell_text(&row, i % 2));
        assert_non_null(cell.data);
        assert_int_equal(cell.size, sizes[i]);
        assert_memory_equal(cell.data, cells[i], sizes[i]);
    }
    assert_int_equal(csv_read(file, &row, &wrong), EOF);
    fclose(file);
    csv_row_free(&row);
    entry_buffer_free(&out);
}

static void rows_end_as_they_may(void **state) {
    static const char bytes[] = "a,b\n\"c\nd\",e\r\nf,\rg,h";
    const uint64_t lines[] = {1, 2, 4, 5};
    struct csv_row row = {0};
    const char *wrong;
    FILE *file = fmemopen((char *)bytes, strlen(bytes), "r");
    (void)state;
    for (size_t i = 0; i < LENGTH(lines); i++) {
        assert_int_equal(csv_read(file, &row, &wrong), 0);
        assert_int_equal(row.count, 2);
        assert_int_equal(row.line, lines[i]);
    }
    assert_int_equal(csv_read(file, &row, &wrong), EOF);
    fclose(file);
    csv_row_free(&row);
}

static void assert_refused(const char *bytes) {
    struct csv_row row = {0};
    const char *wrong;
    FILE *file = fmemopen((char *)bytes, strlen(bytes), "r");
    assert_int_equal(csv_read(file, &row, &wrong), LEDGER_E_BAD_ENTRY);
    assert_non_null(wrong);
    fclose(file);
    csv_row_free(&row);
}

static void broken_rows_are_refused(void **state) {
    (void)state;
    assert_refused("\"a");
    assert_refused("\"a\"b,c\n");
    assert_refused("a\"b\n");
}

static int choose(const char *list, struct ledger_failure *failure) {
    struct columns columns;
    return columns_choose(list, &columns, failure);
}

static void columns_have_names(void **state) {
    struct ledger_failure failure = {0};
    (void)state;
    assert_int_equal(choose(NULL, &failure), 0);
    assert_int_equal(choose("id,cost,trace", &failure), 0);
    assert_int_equal(choose("id,id", &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(choose("", &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(choose("id,", &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(choose("nothing", &failure), LEDGER_E_BAD_ENTRY);
    assert_non_null(strstr(failure.detail, "nothing"));
    assert_non_null(strstr(failure.detail, "run_id"));
    assert_non_null(strstr(failure.detail, "attributes")); /* the last */
}

static int read_under(const char *head, const char *cells, struct record *record,
                      struct ledger_failure *failure) {
    struct entry_buffer bytes = {0};
    static struct csv_row rows[2];
    struct columns columns;
    const char *wrong;
    append(&bytes, head);
    append(&bytes, "\n");
    append(&bytes, cells);
    FILE *file = fmemopen(bytes.data, bytes.size, "r");
    csv_row_free(&rows[0]);
    csv_row_free(&rows[1]);
    assert_int_equal(csv_read(file, &rows[0], &wrong), 0);
    assert_int_equal(csv_read(file, &rows[1], &wrong), 0);
    int rc = columns_read_head(&rows[0], &columns, failure);
    if (rc == 0)
        rc = columns_read_row(&columns, &rows[1], record, failure);
    fclose(file);
    entry_buffer_free(&bytes);
    return rc;
}

static void rows_become_records(void **state) {
    struct ledger_failure failure = {0};
    struct record record = {0};
    (void)state;
    assert_int_equal(read_under("\xef\xbb\xbfrun_id,total_cost,created_at,intent",
                                "'=r,8.50,2023-11-14T22:13:20.5Z,x", &record, &failure),
                     0);
    assert_int_equal(record.entry.kind, KIND_RUN);
    assert_int_equal(record.entry.cost, 8500000000);
    assert_int_equal(record.timestamp_ms, 1700000000500);
    assert_memory_equal(record.entry.run_id.data, "=r", 2);
    assert_int_equal(read_under("total_cost,cost", "0.000000001,1", &record, &failure), 0);
    assert_int_equal(read_under("total_cost,cost", "1,1", &record, &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("total_cost", "0.0000000001", &record, &failure),
                     LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("cost", "-1", &record, &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("cost", "1e3", &record, &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("trace", "[1]", &record, &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("input", "[1", &record, &failure), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_under("kind", "grant", &record, &failure), LEDGER_E_BAD_ENTRY);
    record_free(&record);
    struct csv_row empty = {0};
    csv_row_free(&empty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_quoted_and_neutralised),
        cmocka_unit_test(hostile_texts_come_back),
        cmocka_unit_test(rows_end_as_they_may),
        cmocka_unit_test(broken_rows_are_refused),
        cmocka_unit_test(columns_have_names),
        cmocka_unit_test(rows_become_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
