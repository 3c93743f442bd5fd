# Fuzzing what the companion reads, with libFuzzer under AddressSanitizer and UBSan. Included by the
# top Makefile. What is found to lead anywhere new is kept in test/fuzz/request, and is read again by
# test/core/test_request.c, which is part of the tests and needs no clang.
#
#   make fuzz                   ten minutes
#   make fuzz FUZZ_SECONDS=30

FUZZ_PACKAGES := clang
FUZZ_SECONDS ?= 600
FUZZ_CORPUS := test/fuzz/request
FUZZ_SRC := test/fuzz/fuzz_request.c $(filter-out c_src/port/main.c,$(PORT_SRC)) $(CORE_SRC)

.PHONY: fuzz-deps fuzz
fuzz-deps: deps
	$(call install,$(FUZZ_PACKAGES))

$(BUILD)/fuzz/request: $(FUZZ_SRC)
	@mkdir -p $(@D)
	clang -g -O1 -std=c11 -D_GNU_SOURCE -pthread -fsanitize=fuzzer,address,undefined \
	  -fno-sanitize-recover=all -o $@ $(FUZZ_SRC) $(CORE_LIBS) -lm

fuzz: fuzz-deps $(BUILD)/fuzz/request ## libFuzzer on what the companion reads (10 minutes)
	@mkdir -p $(BUILD)/fuzz/corpus $(FUZZ_CORPUS)
	$(BUILD)/fuzz/request -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 \
	  -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus $(FUZZ_CORPUS)
	$(BUILD)/fuzz/request -merge=1 $(FUZZ_CORPUS) $(BUILD)/fuzz/corpus
