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
# REAL=1 is one real node with containers instead of fake ones: Linux, as root.
REAL ?=
# What a real node needs is installed for root only; nobody else can have one.
NODE_PACKAGES := $(if $(filter 0,$(shell id -u)),node-packages)
# More flags for "make up", as in: make up UP_FLAGS="--sluice-etcd=external"
UP_FLAGS ?=
# Flags for "make bench", as in: make bench BENCH_FLAGS="--only=trees"
BENCH_FLAGS ?=
# How many journeys "make test-simulator" makes, and what their seeds count from.
JOURNEYS ?= 100000
JOURNEYS_SEED ?= 1
# The tests that record a fault in docs/reliability.md.
FAULTS := ^(TestFaultsOfTheHost|TestWritesAreLetInAgainWhenThereIsRoom|TestAFullDiskLosesNoAcknowledgedWrite)$$
# How many mutants "make test-mutation" tries, of all there are, evenly spread; or "all".
MUTANTS ?= 25

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
up: localcluster $(if $(REAL),node-packages) ## Build what is missing and start a real control plane with Sluice on this machine; REAL=1: with a real node.
	@$(LOCALCLUSTER) up $(if $(REAL),--real) $(UP_FLAGS)

.PHONY: down
down: localcluster ## Stop it; its data stays.
	@$(LOCALCLUSTER) down

.PHONY: status
status: localcluster ## Show what of it runs, and the last log lines of what crashed.
	@$(LOCALCLUSTER) status

.PHONY: demo
demo: localcluster $(NODE_PACKAGES) ## Play the guide on the local control plane, checking every stage; with real pods where they can run.
	@$(GO) run -buildvcs=false ./test/demo

.PHONY: picture
picture: localcluster $(NODE_PACKAGES) ## Play the guide on a real node under load, and draw who answered: docs/images/guide.svg.
	@$(GO) run -buildvcs=false ./test/picture

.PHONY: bench
bench: localcluster $(NODE_PACKAGES) ## Measure Sluice against its peers, and print the ratios.
	@$(GO) run -buildvcs=false ./test/benchmark $(BENCH_FLAGS)

##  Code

.PHONY: build
build: localcluster ## Build all binaries into _local/bin.
	@$(LOCALCLUSTER) build

.PHONY: image
image: localcluster ## Write OCI archives of sluice-apiserver and of the demo application, without a container engine; PUSH=NAME pushes the first.
	@$(LOCALCLUSTER) image --output _output/images $(if $(PUSH),--push $(PUSH))

.PHONY: generate
generate: protoc ## Regenerate everything that is generated from pkg/apis.
	@hack/update-codegen.sh

.PHONY: verify
verify: protoc verify-format verify-vet verify-imports ## Check generated code, format, vet and imports.
	@hack/verify-codegen.sh

.PHONY: conformance
conformance: ## Write docs/conformance.md from the comments of the end-to-end tests.
	@$(GO) run -buildvcs=false ./test/conformance

.PHONY: metrics
metrics: ## Write docs/metrics.md, and the rules for the Prometheus operator, from the source.
	@$(GO) run -buildvcs=false ./test/metrics

.PHONY: argocd
argocd: ## Write the ConfigMap for Argo CD from the scripts beside it.
	@$(GO) run -buildvcs=false ./test/argocd/write

# One package after another: they write into the same table.
.PHONY: reliability
reliability: localcluster ## Make every fault for as long as docs/reliability.md tells of, and write its table.
	$(GO) test -buildvcs=false -count=1 -timeout 60m -p 1 ./pkg/cmd/server ./test/integration -run '$(FAULTS)' -v -args -faults.long -reliability.write

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

# What a real node needs of the distribution: kube-proxy runs nft, and runc is linked with libseccomp.
.PHONY: node-packages
node-packages:
	@if ! command -v nft >/dev/null || ! echo '#include <seccomp.h>' | $${CC:-gcc} -E - >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq nftables libseccomp-dev gcc; \
	  else \
	    echo "a real node needs nft, libseccomp and gcc. Install them: apt-get install nftables libseccomp-dev gcc" >&2; exit 1; \
	  fi; \
	fi

# A real Prometheus scrapes the server, and its tool checks the alerts. Tests that find neither say so.
.PHONY: prometheus
prometheus:
	@if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; \
	  else \
	    echo "prometheus and promtool are missing, so their tests are skipped. Install them: apt-get install prometheus, or brew install prometheus" >&2; \
	  fi; \
	fi

.PHONY: clean
clean: ## Stop the local control plane and delete all that was built and stored.
	@[ ! -x $(LOCALCLUSTER) ] || $(LOCALCLUSTER) down
	@rm -rf _local _output

##  Tests

.PHONY: test
test: verify test-unit test-simulator test-mutation test-integration test-e2e test-real ## Run all checks and tests that continuous integration runs.

.PHONY: test-unit
test-unit: prometheus ## Run the unit tests.
	@$(if $(RACE),,echo "no C compiler: the tests run without the race detector" >&2)
	$(GO) test -buildvcs=false $(RACE) ./cmd/... ./pkg/... ./hack/... ./test/architecture ./test/argocd/... ./test/conformance ./test/metrics ./test/benchmark/... ./test/demo/... ./test/demoapp/... ./test/traffic/... ./test/picture/... ./test/cluster/... ./test/contest/... ./test/reliability
	$(GO) -C hack/localcluster test -buildvcs=false ./internal/...

# Without the race detector: a journey has no goroutines, and there are to be many.
.PHONY: test-simulator
test-simulator: ## Make 100,000 random journeys on the simulated cluster, each held against every invariant.
	GOGC=400 $(GO) test -buildvcs=false -count=1 -timeout 60m ./pkg/engine -run '^TestJourneys$$' -v -args -journeys=$(JOURNEYS) -journeys.seed=$(JOURNEYS_SEED) | grep -v '^=== \|\[rapid\] OK'

.PHONY: test-mutation
test-mutation: ## Break the engine in small ways, one after another: its tests must fail each time. MUTANTS=all takes long.
	$(GO) test -buildvcs=false -count=1 -timeout 40m ./test/mutation -args -mutants=$(MUTANTS)

.PHONY: test-integration
test-integration: localcluster ## Run the server with an embedded etcd in process.
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m ./test/integration/...

# What these tests do most of the time is wait, so that more of them than there are processors run at once.
.PHONY: test-e2e
test-e2e: localcluster prometheus ## Run everything end to end on local control planes.
	$(GO) test -buildvcs=false -count=1 -timeout 40m -parallel 4 ./test/cluster/... ./test/e2e/...

.PHONY: test-real
test-real: localcluster $(NODE_PACKAGES) ## Run Sluice as users install it, with real containers under load; says why if it cannot.
	$(GO) test -buildvcs=false -count=1 -timeout 40m ./test/real/...

.PHONY: test-long
test-long: localcluster ## Run what takes too long for every change: more random cases, everything again and again.
	$(GO) test -buildvcs=false -count=1 -timeout 60m ./pkg/engine -rapid.checks=10000 -rapid.steps=50
	$(MAKE) test-simulator JOURNEYS=300000 JOURNEYS_SEED=$$RANDOM
	$(MAKE) test-mutation MUTANTS=all
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m ./test/integration -run '^TestCertificatesAreReplacedUnderLoad$$' -v -certificates.lifetime=1m
	$(GO) test -buildvcs=false $(RACE) -count=3 -timeout 60m ./test/integration/... -contest.rounds=200
	$(GO) test -buildvcs=false -count=3 -timeout 60m ./test/e2e/...
