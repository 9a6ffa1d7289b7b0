# `make` lists the targets. Tools come pinned from requirements*.txt into .venv, the first time they are needed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
FUNCTION ?= rotation-checker
EVENT ?= scheduled
# `make fuzz`: which targets, and for how long each.
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 600
# A section of samconfig.toml: default or prod.
ENV ?= default

BIN := $(CURDIR)/.venv/bin
TOOLS := .venv/requirements.txt
CHECKOV := .venv/checkov/requirements.txt
PROWLER := .venv/peers-prowler/requirements.txt
CUSTODIAN := .venv/peers-custodian/requirements.txt
SAM := $(BIN)/python -m samcli
TEMPLATES := template.yaml application-keys.yaml replicas.yaml member-role.yaml
# One of each partition, and some that lack what others have.
REGIONS := us-east-1 us-gov-west-1 cn-north-1 eu-central-2 ap-southeast-2 sa-east-1
PARTS := $(PYTHON) tests/end-to-end/parts.py
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# SAM finds cargo-lambda, and cargo-lambda zig, on the PATH. Only where they are needed: .venv has a python3 too.
WITH_TOOLS := PATH="$(BIN):$$PATH"
export SAM_CLI_TELEMETRY := 0

.PHONY: help demo scan archive bench bench-peers test lint unit e2e fuzz fmt build validate deploy deploy-application-keys package invoke logs clean tools python cargo

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: python cargo ## Deploy into a local AWS, let the schedule fire, show the mails
	@exec $(PARTS) tools "$(MAKE) tools" demo "$(BIN)/python tests/end-to-end/demo.py"

scan: python cargo ## Scan the demo's keys in a local AWS from the terminal: the table, and where the page lies
	@exec $(PARTS) tools "$(MAKE) tools" scan "$(BIN)/python tests/end-to-end/scan.py"

test: python cargo ## Everything that must hold: lint, unit, e2e
	@exec $(PARTS) tools "$(MAKE) tools" lint "$(MAKE) lint" unit "$(MAKE) unit" e2e "$(MAKE) e2e"

lint: cargo validate ## Format, clippy, docs, Python, template
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	$(BIN)/ruff check --quiet tests/end-to-end tests/benchmarks
	$(BIN)/ruff format --check tests/end-to-end tests/benchmarks

unit: cargo ## The Rust tests
	cargo test --workspace

e2e: cargo $(TOOLS) ## The end-to-end suite in a local AWS
	@exec $(BIN)/python -m pytest tests/end-to-end

fuzz: cargo .local/cargo-fuzz/bin/cargo-fuzz ## Fuzz on stable Rust, ten minutes a target (FUZZ_TARGETS=… FUZZ_SECONDS=…)
	@cd fuzz && for target in $(FUZZ_TARGETS); do \
		mkdir -p grown/$$target; \
		PATH="$(CURDIR)/.local/cargo-fuzz/bin:$$PATH" cargo fuzz run --fuzz-dir . --sanitizer none $$target grown/$$target corpus/$$target \
			-- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1; \
	done

.local/cargo-fuzz/bin/cargo-fuzz:
	cargo install cargo-fuzz --version 0.13.2 --locked --root .local/cargo-fuzz

bench: cargo $(TOOLS) ## Measure rotation-checker beside other ways to ask the same; writes docs/benchmark.md and .svg
	cargo build --release --package benchmarks --package rotation-checker --features rotation-checker/unpaced
	@mv target/release/rotation-checker target/release/rotation-checker-unpaced
	cargo build --release --package benchmarks --package rotation-checker
	@exec target/release/bench $(BENCH)

fmt: cargo $(TOOLS) ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff check --fix tests/end-to-end tests/benchmarks
	$(BIN)/ruff format tests/end-to-end tests/benchmarks

build: cargo $(TOOLS) ## What ships: `sam build` (ENV=prod for that section of samconfig.toml)
	$(WITH_TOOLS) $(SAM) build --config-env $(ENV)
	@$(BIN)/python tests/end-to-end/sizes.py

validate: $(TOOLS) $(CHECKOV) ## Check the templates
	AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	$(BIN)/cfn-lint --regions $(REGIONS) -- $(TEMPLATES)
	@echo "checkov skips what a condition chooses: it gets the templates as if every condition held"
	@mkdir -p .local
	@$(BIN)/python tests/end-to-end/unconditional.py .local $(TEMPLATES)
	.venv/checkov/bin/checkov --config-file .checkov.yaml

deploy: build ## Build, then `sam deploy` with your AWS credentials (ENV=prod)
	@exec $(SAM) deploy --config-env $(ENV)

package: build ## What plain CloudFormation deploys, into dist/ (ENV=prod for its tags)
	@exec $(BIN)/python tests/end-to-end/package.py $(ENV)

archive: cargo $(TOOLS) ## `kms-compliance` for other machines, with manual and completions, into dist/
	@$(WITH_TOOLS) exec $(BIN)/python tests/end-to-end/archive.py

bench-peers: cargo $(PROWLER) $(CUSTODIAN) ## Measure beside Prowler and Cloud Custodian; writes docs/benchmark-peers.md (KEYS=100 prints)
	cargo build --release --package benchmarks --package rotation-checker --features rotation-checker/unpaced
	@mv target/release/rotation-checker target/release/rotation-checker-unpaced
	cargo build --release --package kms-compliance
	@exec target/release/bench-peers $(KEYS)

deploy-application-keys: $(TOOLS) ## Deploy keys and roles for an application, a stack of their own (ENV=prod)
	@exec $(SAM) deploy --config-env $(ENV)-application-keys --template-file application-keys.yaml

invoke: cargo $(TOOLS) ## One invocation: FUNCTION=… EVENT=… (a file of events/), LOCAL=1 in a local AWS
	@$(WITH_TOOLS) exec $(BIN)/python tests/end-to-end/invoke.py $(FUNCTION) $(EVENT) $(if $(LOCAL),--local)

logs: $(TOOLS) ## Follow the functions' logs of the deployed stack (ENV=prod)
	@exec $(SAM) logs --config-env $(ENV) --tail

clean: ## Remove all that make made
	rm -rf .aws-sam .local dist .pytest_cache .ruff_cache .venv fuzz/target fuzz/grown fuzz/artifacts
	! command -v cargo > /dev/null || cargo clean

tools: $(TOOLS)

# The copy is made last: while it is missing or older, the tools are not complete.
$(TOOLS): requirements.txt | python
	@echo "tools for this project go into .venv; this takes some minutes the first time"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --disable-pip-version-check --progress-bar off --requirement requirements.txt --constraint requirements.txt
	@cp requirements.txt $@

$(CHECKOV): requirements-checkov.txt $(TOOLS)
	$(PYTHON) -m venv --clear .venv/checkov
	.venv/checkov/bin/pip install --disable-pip-version-check --progress-bar off --requirement requirements-checkov.txt
	@cp requirements-checkov.txt $@

# By hand alone, and only they take what they pin.
$(PROWLER) $(CUSTODIAN): .venv/peers-%/requirements.txt: requirements-%.txt | python
	$(PYTHON) -m venv --clear .venv/peers-$*
	.venv/peers-$*/bin/pip install --disable-pip-version-check --progress-bar off --requirement $<
	@cp $< $@

python:
	@command -v $(PYTHON) > /dev/null || { echo "Python is missing: install 3.10 or newer with its venv module" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$($(PYTHON) --version) is too old: 3.10 or newer is needed (make PYTHON=python3.12 names another one)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: python3-venv)" >&2; exit 1; }

cargo:
	@command -v cargo > /dev/null || { echo "cargo is missing: install Rust $(RUST_VERSION) or newer" >&2; exit 1; }
	@printf '%s\n%s\n' $(RUST_VERSION) "$$(rustc --version | cut -d ' ' -f 2)" | sort -VC || { echo "$$(rustc --version) is too old: $(RUST_VERSION) or newer is needed" >&2; exit 1; }
