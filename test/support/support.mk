# What the suites preload into VMs of their own; see fault.c.

FAULT := _build/test-support/fault.so

.PHONY: test-support
test-support: $(FAULT)

$(FAULT): test/support/fault.c
	@mkdir -p $(@D)
	$(CC) -O2 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fvisibility=hidden -fPIC \
	  -pthread -shared -o $@.new $< -ldl
	@mv $@.new $@
