# What this repository can do. Everything comes from package registries: `make tools` says what it fetches.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PROFILE ?= dev
DIR ?= target/env
DRIVER := python3 tests/env/env.py
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# Without TREVOR_BIN, the environment runs the build of this profile.
export TREVOR_BIN ?= $(TARGET)/$(if $(filter release,$(PROFILE)),release,debug)/trevor

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tools: ## install the pinned tools into the cache (first time: about 12 minutes)
	@$(DRIVER) tools > /dev/null

build: ## build trevor (PROFILE=release: optimised)
	cargo build --locked --profile $(PROFILE)

env-up: build ## start a cluster, two S3 servers and trevor in DIR (default target/env)
	@$(DRIVER) up --dir $(DIR)

env-down: ## end it and remove its state
	@$(DRIVER) down --dir $(DIR)

env-restart: build ## restart the operator only, with the present build
	@$(DRIVER) restart --dir $(DIR)

generate: ## write the CRDs from the Rust types, and the chart's README from its schema
	cargo run --locked --quiet -- crd --dir crds
	cp crds/*.yaml charts/trevor/crds-files/
	python3 tests/chart/readme.py

fmt: ## format the code
	cargo fmt --all

lint: ## formatting, the walls between crates, and clippy; warnings are errors
	cargo fmt --all --check
	python3 tests/walls.py
	cargo clippy --locked --workspace --all-targets -- -D warnings

test: ## everything that CI runs
	@tests/run.sh test

test-long: ## the tests that take long, too
	@tests/run.sh test-long

crash: ## the laboratory: every changing call killed, lost or refused (SEED=…, PLAN=…, PLANS=n, LANES=n; long)
	@tests/run.sh crash

crash-watches: ## its schedules of watches that lag (SEED=…, PLANS=n)
	@tests/run.sh crash --watches

dialects: ## MinIO with and without key management, and versitygw (builds them: 5 minutes more; then 8)
	@tests/run.sh dialects

forge: ## attacks on the review through every door, from a table
	@tests/run.sh forge

forge-oldest: ## those on the policies, on the oldest Kubernetes (builds it: 7 minutes)
	@tests/run.sh forge-oldest

chart-test: ## the chart: values that are refused, what is rendered, alert rules
	@tests/run.sh chart

chart-audit: ## checkov on the chart (first time: fetches it, 1 minute)
	@python3 tests/chart/audit.py

image: ## an OCI image in target/image/trevor.tar, without Docker (BINARY=… to pack another build)
	@tests/image/build.sh

image-twice: ## that image from two folders: the same bytes, and at most 25 MiB (two full builds)
	@tests/run.sh image-twice

node-tools: ## install what a real node is made of, too (first time: 5 minutes more)
	@python3 tests/node/node.py tools > /dev/null

e2e: ## the chart on a real node, install to uninstall (needs root; PROFILE=release: optimised, static: with the image of `make image`)
	@PROFILE=$(PROFILE) tests/run.sh e2e

dashboards: ## the pictures in docs/dashboards, from a real run (first time: 4 minutes more; then 12)
	@tests/run.sh dashboards

demo: ## one request from upload to release, as its people would do it
	@tests/run.sh demo

mutants: ## mutation testing of the pure core (long; not in CI)
	@python3 tests/mutants.py

bench: ## the benchmarks
	@tests/run.sh bench

bench-scale: ## 10,000 idle requests and 1,000 releases: memory, time, writes (half an hour)
	@tests/run.sh bench-scale

.PHONY: help tools build env-up env-down env-restart generate fmt lint test test-long crash crash-watches dialects forge forge-oldest chart-test chart-audit image image-twice node-tools e2e demo bench bench-scale mutants
