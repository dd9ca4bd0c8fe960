# House tasks. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CARGO  ?= cargo
PYTHON ?= python3
LISTEN ?= 127.0.0.1:8080
DATA   ?= data
SOURCE ?=
FUZZ_SECONDS ?= 600
DEVICE ?= cpu
LOAD_SECONDS ?= 600

# rustup puts cargo here; a shell that was open before does not know it yet
export PATH := $(PATH):$(HOME)/.cargo/bin

BIN  := $(or $(CARGO_TARGET_DIR),target)/release/matgenome
VENV := .venv
PIP  := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet

# $(call need,CHECK,PACKAGES,WHAT): where CHECK fails, installs Debian packages as root, else says how
define need
	@if ! ( $(1) ) >/dev/null 2>&1; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "installing $(2)"; \
	        apt-get update -qq; \
	        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
	    else \
	        echo "$(3) is missing; install it, on Debian and Ubuntu by: sudo apt-get install -y $(2)" >&2; \
	        exit 1; \
	    fi; \
	fi
endef

HAVE_VULKAN = [ "$$(uname)" != Linux ] || { compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' && \
    { compgen -G '/usr/lib*/libvulkan.so.1' || compgen -G '/usr/lib*/*/libvulkan.so.1'; }; }

# what incremental builds keep would only fill the disk, 1 GB each: here nothing is built twice
lint test: export CARGO_INCREMENTAL = 0

.PHONY: help run test lint fmt bench bench-ingest bench-load bench-quality bench-search bench-similar model sources bundle fuzz
.PHONY: cargo release nextest cargo-fuzz vulkan venv-module

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: release ## build the server and serve [LISTEN=127.0.0.1:8080] [DATA=data]
	@$(if $(filter file,$(origin DATA)),mkdir -p '$(DATA)')
	@exec '$(BIN)' serve --listen '$(LISTEN)' --data '$(DATA)'

test: cargo nextest vulkan $(VENV)/tests.stamp ## install what tests need, and run all of them
	MATGENOME_REQUIRE_GPU=1 MATGENOME_PYTHON='$(CURDIR)/$(VENV)/bin/python' $(CARGO) nextest run --workspace --locked --no-fail-fast

lint: cargo ## check format and lints; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt: cargo ## format the code
	$(CARGO) fmt --all

# `-s none`, for sanitizers want a nightly compiler; what is found lies in ingest/fuzz/artifacts
fuzz: cargo cargo-fuzz ## let fuzzers look for panics in what reads texts [FUZZ_SECONDS=600, for each]
	@cd ingest && export CARGO_TARGET_DIR='$(CURDIR)/ingest/fuzz/target'; \
	for seeds in fuzz/seeds/*; do \
	    target=$${seeds##*/}; mkdir -p "fuzz/corpus/$$target"; \
	    echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
	    $(CARGO) fuzz run -s none "$$target" "fuzz/corpus/$$target" "$$seeds" -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1; \
	done

bench: bench-search bench-similar bench-ingest bench-load ## run the benchmarks

bench-load: release $(VENV)/benches.stamp ## mixed load on a server, and whether its memory stays flat [LOAD_SECONDS=600]
	$(VENV)/bin/python benches/load.py --bin '$(BIN)' --device '$(DEVICE)' --seconds $(LOAD_SECONDS)

bench-search: release $(VENV)/benches.stamp ## time searches beside FAISS, usearch, LanceDB, DuckDB, Polars and NumPy [DEVICE=cpu]
	@$(CARGO) build --release --locked --workspace --examples
	$(VENV)/bin/python benches/search.py --examples '$(dir $(BIN))examples' --device '$(DEVICE)'
	$(VENV)/bin/python benches/suggest.py --bin '$(BIN)' --device '$(DEVICE)'

bench-similar: release $(VENV)/benches.stamp ## time neighbours along a graph beside hnswlib, usearch and FAISS's HNSW: DATA=DIR
	@$(CARGO) build --release --locked -p matgenome-index --examples
	$(VENV)/bin/python benches/similar.py --examples '$(dir $(BIN))examples' --data '$(DATA)'

bench-quality: release $(VENV)/benches.stamp ## errors, intervals and suggestions beside published figures: SOURCE=folder of CrabNet's property_prediction
	@[ -d '$(SOURCE)' ] || { echo "say where the benchmark's files are: make bench-quality SOURCE=DIR" >&2; exit 2; }
	$(VENV)/bin/python benches/quality.py --bin '$(BIN)' --source '$(SOURCE)'

model: release ## train the encoders that come with the program anew, on the bundled data
	@folder=$$(mktemp -d) && '$(BIN)' train --steps 9000 --data "$$folder" --out index/model/encoders.bin && rm -r "$$folder"
	@echo "the next build carries them: make run"

bench-ingest: release $(VENV)/benches.stamp ## time `ingest` beside pandas with pymatgen, and Polars [SOURCE=folder with OQMD's CSV files]
	$(VENV)/bin/python benches/ingest.py --bin '$(BIN)' $(if $(SOURCE),--source '$(SOURCE)')

sources: release ## ingest all known sources by their mappings, and print what became of their rows: SOURCE=DIR [DATA=DIR]
	@[ -d '$(SOURCE)' ] || { echo "say where the sources are: make sources SOURCE=DIR" >&2; exit 2; }
	@$(PYTHON) datasets/sources.py --bin '$(BIN)' --source '$(SOURCE)' $(if $(filter command line environment,$(origin DATA)),--data '$(DATA)')

# names, terms and decisions are in the mappings, files in datasets/sources.toml
bundle: release ## make the bundled datasets anew from their sources: SOURCE=DIR
	@[ -d '$(SOURCE)' ] || { echo "say where the sources are: make bundle SOURCE=DIR" >&2; exit 2; }
	@$(PYTHON) datasets/sources.py --bin '$(BIN)' --source '$(SOURCE)' --bundle datasets/bundled
	@echo "the next build carries it: make run"

# ---- what the tasks need

cargo:
	@command -v $(CARGO) >/dev/null || { \
	    echo "Rust is missing; install it by:" >&2; \
	    echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2; \
	    exit 1; \
	}

release: cargo
	@$(CARGO) build --release --locked

nextest: cargo
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked

cargo-fuzz: cargo
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked

# tests of the GPU kernels run on Mesa's software driver where there is no GPU; macOS and Windows bring a driver
vulkan:
	$(call need,$(HAVE_VULKAN),mesa-vulkan-drivers libvulkan1,a Vulkan driver)

venv-module:
	$(call need,$(PYTHON) -c 'import ensurepip; import venv',python3-venv,Python's venv module)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is older than 3.11; name another: make PYTHON=python3.12 ..." >&2; \
	    exit 1; \
	}

$(VENV)/bin/python: | venv-module
	@$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: %/requirements.txt | $(VENV)/bin/python
	@$(PIP) --requirement $<
	@touch $@
