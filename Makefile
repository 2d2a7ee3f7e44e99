# A thin face on meson: `make` builds, `make run` tries it, `make test` proves it.
BUILD := build
MESON_ARGS ?=

.PHONY: all run test unit lab bench fuzz lint asan tsan clean install deps deps-test deps-bench docs

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) gatehouse

$(BUILD)/build.ninja:
	@tools/deps build
	@meson setup $(BUILD) $(MESON_ARGS) >/dev/null || { cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }

run:
	@tools/deps build
	@$(MAKE) --no-print-directory all
	@$(BUILD)/gatehouse serve --demo ./demo

test:
	@tools/deps build test
	@tools/test

unit: $(BUILD)/build.ninja
	@meson test -C $(BUILD) --print-errorlogs

lab: all
	@ninja -C $(BUILD) tests/lab/gatehouse-gso bench/gatehouse-load
	@python3 tests/lab/run.py $(LAB)

bench:
	@tools/deps build bench
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@python3 bench/run.py $(BENCH)

# Each fuzz target for FUZZ_SECONDS under ASan and UBSan.
FUZZ_SECONDS ?= 60
fuzz:
	@tools/deps build test
	@tools/fuzz $(FUZZ_SECONDS)

lint:
	@tools/deps build test
	@tools/lint

asan:
	@tools/deps build test
	@tools/sanitize address,undefined

tsan:
	@tools/deps build test
	@tools/sanitize thread

install: all
	@ninja -C $(BUILD) man
	@meson install -C $(BUILD) --no-rebuild
	@tools/account

clean:
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-clang build-lint demo

deps:
	@tools/deps build test bench
