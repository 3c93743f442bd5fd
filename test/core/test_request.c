/* What the companion reads: every input that fuzzing found to lead anywhere, as it is, cut, and
 * with bytes changed. The target itself aborts on what must not be; a sanitizer sees the rest. */
#include "support.h"

#include <dirent.h>

#include "../../c_src/core/bytes.h"
#include "../fuzz/fuzz_request.c"

#define CORPUS "test/fuzz/request"

static uint8_t bytes[1 << 16];

static size_t read_input(const char *name) {
    char path[512];
    snprintf(path, sizeof path, CORPUS "/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    assert_true(size < sizeof bytes);
    fclose(file);
    return size;
}

static void whatever_fuzzing_found_does_no_harm(void **state) {
    (void)state;
    size_t inputs = 0;
    DIR *directory = opendir(CORPUS);
    assert_non_null(directory);
    for (struct dirent *of = readdir(directory); of != NULL; of = readdir(directory)) {
        if (of->d_name[0] == '.')
            continue;
        size_t size = read_input(of->d_name);
        inputs++;
        for (size_t cut = 0; cut <= size; cut += 1 + cut / 64)
            LLVMFuzzerTestOneInput(bytes, cut);
        LLVMFuzzerTestOneInput(bytes, size);
        for (size_t i = rounds(500); size > 0 && i > 0; i--) {
            bytes[random_below(size)] ^= (uint8_t)(1 << random_below(8));
            LLVMFuzzerTestOneInput(bytes, size);
        }
    }
    closedir(directory);
    assert_true(inputs >= 5);
}

/* One that is sound says what was said. */
static void a_request_is_read(void **state) {
    static const char frame[] = "\x93\x07\xa5"
                                "count\x82\xa9"
                                "directory\xa2/d\xa5names\x81\xa4user\xa3"
                                "ann";
    struct request request;
    (void)state;
    assert_null(request_read(frame, sizeof frame - 1, &request));
    assert_int_equal(request.id, 7);
    assert_false(request.is_cancel);
    assert_string_equal(request.job, "count");
    assert_string_equal(request.directory, "/d");
    assert_null(request.output);
    assert_true(text_equal(request.names[DIMENSION_USER], text("ann")));
    request_free(&request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(whatever_fuzzing_found_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
