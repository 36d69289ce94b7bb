# Everything that is done with this repository. It needs Go, make and, for the race detector, a C compiler;
# the rest is built or installed when it is first needed. "make help" lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := _local/bin
LOCALCLUSTER := $(BIN)/localcluster
GO := go
# The race detector needs cgo; without a C compiler the tests run without it, and say so.
RACE := $(if $(shell command -v $${CC:-gcc} || command -v clang),-race)
# More flags for "make up", as in: make up UP_FLAGS="--sluice-etcd=external"
UP_FLAGS ?=
# Flags for "make bench", as in: make bench BENCH_FLAGS="--only=trees"
BENCH_FLAGS ?=

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##  The local control plane

# The launcher is asked for by everything below; the go command knows whether it is up to date.
.PHONY: localcluster
localcluster:
	@[ -x $(LOCALCLUSTER) ] || echo "building the launcher of the local control plane" >&2
	@$(GO) -C hack/localcluster build -buildvcs=false -o $(CURDIR)/$(LOCALCLUSTER) ./cmd/localcluster

.PHONY: up
up: localcluster ## Build what is missing and start a real control plane with Sluice on this machine.
	@$(LOCALCLUSTER) up $(UP_FLAGS)

.PHONY: down
down: localcluster ## Stop it; its data stays.
	@$(LOCALCLUSTER) down

.PHONY: status
status: localcluster ## Show what of it runs, and the last log lines of what crashed.
	@$(LOCALCLUSTER) status

.PHONY: demo
demo: localcluster ## Play the guide on the local control plane, checking every stage.
	@$(GO) run -buildvcs=false ./test/demo

.PHONY: bench
bench: localcluster ## Measure Sluice against its peers, and print the ratios.
	@$(GO) run -buildvcs=false ./test/benchmark $(BENCH_FLAGS)

##  Code

.PHONY: build
build: localcluster ## Build all binaries into _local/bin.
	@$(LOCALCLUSTER) build

.PHONY: generate
generate: protoc ## Regenerate everything that is generated from pkg/apis.
	@hack/update-codegen.sh

.PHONY: verify
verify: protoc verify-format verify-vet verify-imports ## Check generated code, format, vet and imports.
	@hack/verify-codegen.sh

.PHONY: verify-format
verify-format:
	@unformatted=$$(gofmt -l cmd pkg hack test); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi

.PHONY: verify-vet
verify-vet:
	@$(GO) vet ./...
	@$(GO) -C hack/localcluster vet ./...

.PHONY: verify-imports
verify-imports:
	@$(GO) test -buildvcs=false -count=1 ./test/architecture

.PHONY: protoc
protoc:
	@if ! command -v protoc >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq protobuf-compiler; \
	  else \
	    echo "protoc is missing. Install it: apt-get install protobuf-compiler, or brew install protobuf" >&2; exit 1; \
	  fi; \
	fi

.PHONY: clean
clean: ## Stop the local control plane and delete all that was built and stored.
	@[ ! -x $(LOCALCLUSTER) ] || $(LOCALCLUSTER) down
	@rm -rf _local _output

##  Tests

.PHONY: test
test: verify test-unit test-integration test-e2e ## Run all checks and tests that continuous integration runs.

.PHONY: test-unit
test-unit: ## Run the unit tests.
	@$(if $(RACE),,echo "no C compiler: the tests run without the race detector" >&2)
	$(GO) test -buildvcs=false $(RACE) ./cmd/... ./pkg/... ./hack/... ./test/architecture ./test/benchmark/... ./test/demo/... ./test/cluster/... ./test/contest/...
	$(GO) -C hack/localcluster test -buildvcs=false ./internal/...

.PHONY: test-integration
test-integration: localcluster ## Run the server with an embedded etcd in process.
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m ./test/integration/...

.PHONY: test-e2e
test-e2e: localcluster ## Run everything end to end on local control planes.
	$(GO) test -buildvcs=false -count=1 -timeout 40m ./test/cluster/... ./test/e2e/...

.PHONY: test-long
test-long: localcluster ## Run what takes too long for every change: more random cases, everything again and again.
	$(GO) test -buildvcs=false -count=1 -timeout 60m ./pkg/engine -rapid.checks=10000 -rapid.steps=50
	$(GO) test -buildvcs=false $(RACE) -count=3 -timeout 60m ./test/integration/... -contest.rounds=200
	$(GO) test -buildvcs=false -count=3 -timeout 60m ./test/e2e/...
