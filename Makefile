# `make` shows what there is. CI (.ci/run) calls these same targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test unit it test-lambda coverage parts fmt check-fmt lint doc gen check-gen deny fuzz bench packages verify-deploy check clean-parts

CARGO ?= cargo
# What is checked and tested: the function of AWS Lambda and the secrets of AWS as well; the default is checked by `lint`.
FEATURES := --features lambda,aws
# Tests that work at once. Every one of them may start servers of its own.
TEST_THREADS ?= $(shell nproc)
# Seconds for each fuzz target.
FUZZ_TIME ?= 60
DENY_VERSION := 0.20.2

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the release binary: target/release/mcp-oidc-proxy
	$(CARGO) build --release --locked --features aws

demo: ## Start the demo on this machine (ONCE=1: drive it and exit)
	$(CARGO) run --quiet --locked $(FEATURES) --example demo -- $(if $(ONCE),--once)

test: parts ## Run all tests; install and start what they need; print the counts
	@mkdir -p target && rm -rf target/record
	MCP_PROXY_TEST_RECORD=$(CURDIR)/target/record \
	  $(CARGO) test --locked $(FEATURES) --no-fail-fast -- --test-threads=$(TEST_THREADS) 2>&1 | tee target/test.log || status=$$?; \
	  ./tests/canaries.sh target/record || status=1; \
	  ./tests/count.sh target/test.log; exit $${status:-0}

unit: ## Run the tests that stand beside the code
	$(CARGO) test --locked $(FEATURES) --lib --bins

it: parts ## Run the integration tests (FILTER=name: only those)
	$(CARGO) test --locked $(FEATURES) --test it -- --test-threads=$(TEST_THREADS) $(FILTER)

test-lambda: ## Run the tests of the function of AWS Lambda (FILTER=name: only those)
	$(CARGO) test --locked $(FEATURES) --test lambda -- --test-threads=$(TEST_THREADS) $(FILTER)

coverage: parts ## Measure which lines the tests run; the report goes to target/coverage
	TEST_THREADS=$(TEST_THREADS) CARGO=$(CARGO) ./tests/coverage.sh $(FEATURES)

parts: ## Install the real providers, clients and servers that tests use
	@./tests/parts/setup.sh

fmt: ## Format the code
	$(CARGO) fmt --all

check-fmt:
	$(CARGO) fmt --all --check

lint: ## Run clippy on everything; warnings are errors
	$(CARGO) clippy --locked $(FEATURES) --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib -- -D warnings

doc: ## Build the code's documentation; broken links are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked $(FEATURES) --no-deps --document-private-items

gen: ## Write the generated files (reference configuration, schema, docs) again
	$(CARGO) run --quiet --locked $(FEATURES) -- config all --write
	./helm/generate.py

check-gen: ## Fail when a generated file is stale
	$(CARGO) run --quiet --locked $(FEATURES) -- config all --check
	./helm/generate.py --check

deny: ## Check licences, sources and banned crates (ADVISORIES=1: known vulnerabilities too)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked
	$(CARGO) deny --locked check $(if $(ADVISORIES),advisories) bans licenses sources
	@$(if $(ADVISORIES),,echo "deny: advisories were skipped, for their database comes from the internet; ADVISORIES=1 checks them")

fuzz: ## Fuzz the readers of strangers' bytes, each for FUZZ_TIME seconds (needs a nightly toolchain and cargo-fuzz)
	@for target in $$(ls fuzz/seeds); do \
	  mkdir -p fuzz/corpus/$$target; \
	  $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(FUZZ_TIME) || exit 1; \
	done

packages: ## Make a .deb and an .rpm in target/packages (BINARY=file: of this program)
	./systemd/packages/build.sh $(if $(BINARY),--binary $(BINARY))

verify-deploy: ## Prove the deployment artefacts and print a table (QUICK=1: only what is cheap; CHECK=name: only those)
	./deployments/verify/run.sh $(if $(QUICK),--quick) $(CHECK)

bench: ## Compare the proxy with nginx on this machine
	./benches/compare/run.sh

check: check-fmt lint test doc check-gen deny ## What must pass before a commit

clean-parts: ## Remove what the tests' parts installed
	rm -rf tests/parts/.cache tests/parts/node_modules
