# cost_ledger. `make help` says what there is; `make demo` and `make test` do everything on a
# bare Debian 12.
#
# Override on the command line or in the environment: CC, CFLAGS, LDFLAGS, ERL, REBAR.

CC      ?= gcc
ERL     ?= erl
REBAR   ?= rebar3
CFLAGS  ?= -O2 -g
BUILD   := _build/c

.DEFAULT_GOAL := help
.PHONY: help
help: ## this text
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

# ---- what the machine needs -------------------------------------------------------------------

PACKAGES := gcc make libc6-dev liblmdb-dev libmsgpack-dev libjson-c-dev libssl-dev \
            erlang-base erlang-dev erlang-crypto erlang-tools erlang-syntax-tools \
            erlang-runtime-tools erlang-eunit erlang-common-test erlang-dialyzer \
            erlang-proper rebar3 \
            libcmocka-dev python3 python3-lmdb python3-msgpack
# A browser that reads the reports: about 120 MB to load, 380 MB on the disk.
TEST_PACKAGES := chromium
CHECK_PACKAGES := clang-format cppcheck valgrind
BENCH_PACKAGES := erlang-p1-sqlite3 sqlite3

missing = $(shell for package in $(1); do \
            dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed \
            || echo $$package; done)
define install
	@set -e; missing="$(call missing,$(1))"; \
	if [ -n "$$missing" ]; then \
	  echo "installing from Debian's packages:" $$missing; \
	  if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	  $$sudo apt-get update -q; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -q -y --no-install-recommends $$missing; \
	fi
endef

.PHONY: deps test-deps check-deps bench-deps
deps: ## install what is missing from Debian's packages (root or sudo)
	$(call install,$(PACKAGES))
test-deps: deps
	$(call install,$(TEST_PACKAGES))
check-deps: deps
	$(call install,$(CHECK_PACKAGES))
bench-deps: deps
	$(call install,$(BENCH_PACKAGES))

# ---- the C side -------------------------------------------------------------------------------

STRICT   := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fvisibility=hidden -fPIC -pthread -MMD -MP
CORE_SRC := $(sort $(wildcard c_src/core/*.c))
NIF_SRC  := $(sort $(wildcard c_src/nif/*.c))
PORT_SRC := $(sort $(wildcard c_src/port/*.c))
CORE_OBJ := $(CORE_SRC:c_src/%.c=$(BUILD)/%.o)
NIF_OBJ  := $(NIF_SRC:c_src/%.c=$(BUILD)/%.o)
PORT_OBJ := $(PORT_SRC:c_src/%.c=$(BUILD)/%.o)
CORE_LIBS := -llmdb -lmsgpackc -ljson-c -lcrypto
# Asked only when something is compiled, so that `make help` works before Erlang is there.
ERL_INCLUDE = $(shell $(ERL) -noshell -eval \
  'io:format("~ts/erts-~ts/include", [code:root_dir(), erlang:system_info(version)]), halt().')

.PHONY: native
native: priv/cost_ledger_nif.so priv/cost_ledger

priv/cost_ledger_nif.so: $(CORE_OBJ) $(NIF_OBJ)
	@mkdir -p priv
	$(CC) -shared -pthread $(LDFLAGS) -o $@.new $^ $(CORE_LIBS)
	@mv $@.new $@

priv/cost_ledger: $(CORE_OBJ) $(PORT_OBJ)
	@mkdir -p priv
	$(CC) -pthread $(LDFLAGS) -o $@.new $^ $(CORE_LIBS) -lm
	@mv $@.new $@

$(BUILD)/core/%.o: c_src/core/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(STRICT) -c $< -o $@

$(BUILD)/port/%.o: c_src/port/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(STRICT) -c $< -o $@

$(BUILD)/nif/%.o: c_src/nif/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(STRICT) -I$(ERL_INCLUDE) -c $< -o $@

-include $(CORE_OBJ:.o=.d) $(NIF_OBJ:.o=.d) $(PORT_OBJ:.o=.d)

# ---- the application --------------------------------------------------------------------------

EBIN := _build/default/lib/cost_ledger/ebin

.PHONY: compile
compile: deps ## build; the result is in _build/default/lib/cost_ledger
	$(REBAR) compile

# The demo, the bench and the shell run on what `make compile` built.
RUN = $(ERL) -noshell -pa $(EBIN)

.PHONY: demo
demo: compile ## replay a real trace through a gated hub, and show what happened (10 s)
	@mkdir -p _build/demo
	@erlc +warnings_as_errors -o _build/demo demo/*.erl
	@$(RUN) -pa _build/demo -s demo main

.PHONY: shell
shell: compile ## a named node with a ledger open; look into it from a second one
	@echo "In this shell: cost_ledger:record_invocation(executing). cost_ledger:i()."
	@echo "From a second one: erl -sname look -setcookie cost_ledger \\"
	@echo "                       -remsh cost_ledger@$$(hostname -s)"
	@$(ERL) -pa $(EBIN) -sname cost_ledger -setcookie cost_ledger \
	  -cost_ledger path '"_build/shell/ledger"' -eval '{ok, _} = application:ensure_all_started(cost_ledger), cost_ledger:i().'

# Parts of it: make bench BENCH="invocations budgets million records"
.PHONY: bench
bench: bench-deps compile ## what it costs, as ratios to peers of the same run (9 minutes)
	@mkdir -p _build/bench
	@erlc +warnings_as_errors -o _build/bench test/bench/*.erl
	@$(RUN) +IOs false -pa _build/bench -run cost_ledger_bench main _build/bench/data $(BENCH)

# ---- tests ------------------------------------------------------------------------------------

include test/core/core.mk
include test/support/support.mk
include test/fuzz/fuzz.mk

.PHONY: test
test: test-deps compile test-core test-core-sanitized test-support ## all tests (a few minutes)
	$(REBAR) ct

.PHONY: soak
soak: compile test-core-valgrind test-support ## the long ones: thousands of model runs and kills
	COST_LEDGER_NUMTESTS=5000 $(REBAR) ct --suite test/cost_ledger_model_SUITE
	COST_LEDGER_KILLS=1000 $(REBAR) ct --suite test/cost_ledger_crash_SUITE

# ---- checks -----------------------------------------------------------------------------------

C_FILES = $(sort $(wildcard c_src/*/*.[ch] test/core/*.[ch] test/support/*.[ch] test/fuzz/*.[ch]))

.PHONY: check
check: check-deps compile test-core-valgrind ## formatting, static analysis, valgrind, dialyzer, xref
	clang-format --dry-run --Werror $(C_FILES)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -D__linux__ \
	  --enable=warning,performance,portability --suppress=missingInclude c_src
	$(REBAR) xref
	$(REBAR) dialyzer

.PHONY: clean
clean: ## remove everything that was built
	rm -rf _build priv/*.so priv/cost_ledger priv/*.new
