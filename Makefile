# Front door: `make` builds, `make demo` draws a picture, `make test` runs the tests. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all

JOBS ?= $(shell nproc)
TEST_JOBS ?= 2
PREFIX ?= /usr/local
release := build/release
tessera := $(release)/tessera
configure := cmake --preset release --log-level=WARNING
sources = $(shell find src include plugins tests benchmarks fuzz -name '*.cc' -o -name '*.h' 2>/dev/null)

PROMPT ?= a big blue star on a yellow background
SEED ?= 42
DEMO_FOLDER ?= outputs
export PROMPT

.PHONY: all demo docs test test-long bench format check-format lint fuzz check-sanitizers check-threads install clean help \
  packages packages-test packages-checks

all: packages  ## release build: build/release/tessera
	@$(configure) -DTESSERA_TESTS=OFF -DTESSERA_BENCHMARKS=OFF
	cmake --build $(release) --target tessera tessera_aiter tessera_fia -j $(JOBS)

demo: all  ## draws a picture with the built-in demo model (PROMPT="..." SEED=...)
	$(tessera) generate --prompt "$$PROMPT" --seed $(SEED) --output-path $(DEMO_FOLDER) --output-file-name demo.png
	@echo "picture: $(CURDIR)/$(DEMO_FOLDER)/demo.png"

test: packages-test  ## builds everything and runs every test but the slow ones
	@$(configure) -DTESSERA_TESTS=ON -DTESSERA_BENCHMARKS=ON
	cmake --build $(release) -j $(JOBS)
	ctest --test-dir $(release) --output-on-failure -LE slow -j $(TEST_JOBS)

test-long: packages-test  ## the slow tests, too
	@$(configure) -DTESSERA_TESTS=ON -DTESSERA_BENCHMARKS=ON
	cmake --build $(release) -j $(JOBS)
	ctest --test-dir $(release) --output-on-failure -j $(TEST_JOBS)

bench: packages-test  ## runs the benchmarks (BENCH_FILTER=regex)
	@$(configure) -DTESSERA_TESTS=ON -DTESSERA_BENCHMARKS=ON
	cmake --build $(release) -j $(JOBS)
	for program in $$(find $(release)/benchmarks -maxdepth 2 -type f -executable -name '*_benchmark'); do \
	  $$program --benchmark_filter="$(or $(BENCH_FILTER),.)"; done

format: packages-checks  ## formats every source file
	clang-format-14 -i $(sources)

check-format: packages-checks
	clang-format-14 --dry-run -Werror $(sources)

lint: packages-checks  ## clang-tidy over src (LINT_FILES="a.cc b.cc" for some files)
	cmake --preset release
	cmake/lint.sh $(release) $(JOBS) $(LINT_FILES)

fuzz: packages-checks  ## runs every fuzz target for FUZZ_SECONDS (30)
	cmake --preset fuzz
	cmake --build build/fuzz -j $(JOBS)
	fuzz/run.sh build/fuzz/fuzz $(or $(FUZZ_SECONDS),30)

check-sanitizers: packages-test  ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer (about half an hour)
	cmake --preset dev
	cmake --build build/dev -j $(JOBS)
	ctest --test-dir build/dev --output-on-failure -LE 'slow|no_sanitizer' -j $(TEST_JOBS)

check-threads: packages-checks  ## the tests under ThreadSanitizer, with our own threads in place of OpenMP's
	cmake --preset tsan
	cmake --build build/tsan -j $(JOBS)
	ctest --test-dir build/tsan --output-on-failure -LE 'slow|no_sanitizer' -j $(TEST_JOBS)

docs: all  ## writes the pages that the program prints
	$(tessera) backends --markdown --all >docs/attention_backends.md

install: all  ## installs under PREFIX (/usr/local)
	cmake --install $(release) --prefix $(PREFIX)

clean:  ## removes the build folder
	rm -rf build

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  \1\t/' | expand -t 20

packages:
	@cmake/install_packages.sh build

packages-test:
	@cmake/install_packages.sh build test

packages-checks:
	@cmake/install_packages.sh build test checks
