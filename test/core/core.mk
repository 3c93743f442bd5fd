# The tests of c_src/core, without Erlang. Included by the top Makefile.
#
#   test-core             built as the library is
#   test-core-sanitized   the core and its tests under AddressSanitizer and UBSan
#   test-core-valgrind    memcheck over the tests, with fewer rounds; without those that spend
#                         their time in other processes and in files (TEST_VALGRIND_SKIP)
#
# One test alone: make _build/c/test/test_series && _build/c/test/test_series

TEST_SHARED := $(addprefix test/core/,support.c limited.c books.c books_read.c books_rules.c books_lists.c records.c whole.c pruned.c pruned_answers.c)
TEST_NAMES  := $(patsubst test/core/%.c,%,$(sort $(wildcard test/core/test_*.c)))
TEST_LIBS   := $(CORE_LIBS) -lcmocka -ldl -lm
# The tests of a failing disk put their own write() and fdatasync() before the C library's;
# exported, they are also what liblmdb finds.
TEST_LDFLAGS := -rdynamic -pthread

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g

TEST_PLAIN     := $(TEST_NAMES:%=$(BUILD)/test/%)
TEST_SANITIZED := $(TEST_NAMES:%=$(BUILD)/sanitized/test/%)
TEST_VALGRIND_SKIP := test_power_cut test_killed_writer
TEST_VALGRIND  := $(filter-out $(TEST_VALGRIND_SKIP:%=$(BUILD)/test/%),$(TEST_PLAIN))
VALGRIND ?= valgrind --quiet --error-exitcode=1 --leak-check=full --child-silent-after-fork=yes

# $(call run-tests,binaries,prefix): all of them, also after one has failed.
define run-tests
	@failed=; for test in $(1); do \
	  echo "$${test##*/}"; \
	  $(2) $$test >$$test.log 2>&1 || { cat $$test.log; failed="$$failed $${test##*/}"; }; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi
endef

.PHONY: test-core test-core-sanitized test-core-valgrind
test-core: $(TEST_PLAIN) ## the tests of the C core
	$(call run-tests,$(TEST_PLAIN),)

test-core-sanitized: $(TEST_SANITIZED) ## the same under AddressSanitizer and UBSan
	$(call run-tests,$(TEST_SANITIZED),)

test-core-valgrind: $(TEST_PLAIN) ## the same under valgrind, with fewer rounds
	$(call run-tests,$(TEST_VALGRIND),TEST_QUICK=1 $(VALGRIND))

# ---- built as the library is ------------------------------------------------------------------

$(BUILD)/test/%.o: test/core/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(STRICT) -c $< -o $@

$(TEST_PLAIN): $(BUILD)/test/%: $(BUILD)/test/%.o $(TEST_SHARED:test/core/%.c=$(BUILD)/test/%.o) \
               $(CORE_OBJ)
	$(CC) $(LDFLAGS) $(TEST_LDFLAGS) -o $@ $^ $(TEST_LIBS)

# Those that break a disk, or cut its power.
TEST_WITH_FAULTS := test_disk_failure test_disk_failure_holds test_disk_failure_records \
                    test_disk_failure_prune test_power_cut
$(TEST_WITH_FAULTS:%=$(BUILD)/test/%): $(BUILD)/test/faults.o
$(TEST_WITH_FAULTS:%=$(BUILD)/sanitized/test/%): $(BUILD)/sanitized/test/faults.o

# Those of what is beside the core: how records are written and read.
TEST_OF_PORT := test_csv test_json_read test_import test_request
# All but main() and the commands.
PORT_PARTS := $(filter-out main command look look_records look_top transfer keep keep_archive report_command,$(PORT_SRC:c_src/port/%.c=%))
$(TEST_OF_PORT:%=$(BUILD)/test/%): $(PORT_PARTS:%=$(BUILD)/port/%.o)
$(TEST_OF_PORT:%=$(BUILD)/sanitized/test/%): $(PORT_PARTS:%=$(BUILD)/sanitized/port/%.o)

# ---- sanitized --------------------------------------------------------------------------------

$(BUILD)/sanitized/core/%.o: c_src/core/%.c
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(STRICT) -c $< -o $@

$(BUILD)/sanitized/port/%.o: c_src/port/%.c
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(STRICT) -c $< -o $@

$(BUILD)/sanitized/test/%.o: test/core/%.c
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(STRICT) -c $< -o $@

$(TEST_SANITIZED): $(BUILD)/sanitized/test/%: $(BUILD)/sanitized/test/%.o \
                   $(TEST_SHARED:test/core/%.c=$(BUILD)/sanitized/test/%.o) \
                   $(CORE_SRC:c_src/%.c=$(BUILD)/sanitized/%.o)
	$(CC) $(LDFLAGS) $(SANITIZE) $(TEST_LDFLAGS) -o $@ $^ $(TEST_LIBS)

-include $(wildcard $(BUILD)/test/*.d $(BUILD)/sanitized/*/*.d)
