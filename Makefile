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
# More flags for "make up", as in: make up UP_FLAGS="--sluice-etcd=external"
UP_FLAGS ?=
# Flags for "make bench", as in: make bench BENCH_FLAGS="--only=trees"
BENCH_FLAGS ?=
# The platforms of "make image", with a comma between them.
PLATFORMS ?= linux/amd64,linux/arm64
# The versions of Kubernetes of "make test-hosts", besides the newest, which all other tests have.
HOSTS ?= 1.34
# The version before, which "make test-adjacent" runs beside this one: a commit or a tag.
OLDER ?= $(or $(shell git describe --tags --abbrev=0 HEAD^ 2>/dev/null),88edef233df133cb0634a28d516d48cebc482c64)
# How many journeys "make test-simulator" makes, and what their seeds count from.
JOURNEYS ?= 100000
JOURNEYS_SEED ?= 1
# The tests that record a fault in docs/reliability.md.
FAULTS := ^(TestFaultsOfTheHost|TestTheHostIsKilled|TestTheHostRefuses|TestTheClockJumps|TestAFloodOfEvents|TestOurStoreIsFull|TestWritesAreLetInAgainWhenThereIsRoom|TestAFullDiskLosesNoAcknowledgedWrite)$$
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
demo: localcluster node-packages ## Play the guide on the local control plane, checking every stage; with real pods where they can run.
	@$(GO) run -buildvcs=false ./test/demo

.PHONY: picture
picture: localcluster node-packages ## Play the guide on a real node under load, and draw who answered: docs/images/guide.svg.
	@$(GO) run -buildvcs=false ./test/picture

.PHONY: bench
bench: localcluster node-packages ## Measure Sluice against its peers, and print the ratios.
	@$(GO) run -buildvcs=false ./test/benchmark $(BENCH_FLAGS)

##  Code

.PHONY: build
build: localcluster ## Build all binaries into _local/bin.
	@$(LOCALCLUSTER) build

.PHONY: image
image: localcluster ## Write OCI archives of sluice-apiserver and of the demo application, and SBOMs, without a container engine; PUSH=NAME pushes the first.
	@$(LOCALCLUSTER) image --output _output/images --platforms $(PLATFORMS) $(if $(PUSH),--push $(PUSH))

.PHONY: generate
generate: protoc ## Regenerate everything that is generated from pkg/apis, and what the chart has of artifacts/base.
	@hack/update-codegen.sh
	@rm -rf charts/sluice/base && mkdir charts/sluice/base
	@cp $(filter-out %/kustomization.yaml,$(wildcard artifacts/base/*.yaml)) charts/sluice/base

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

.PHONY: chart
chart: ## Copy what the Helm chart shares with the overlays into it, and its values into its README.
	@rm -rf charts/sluice/base charts/sluice/ha charts/sluice/cert-manager && mkdir charts/sluice/base charts/sluice/ha charts/sluice/cert-manager
	@cp artifacts/base/*.yaml charts/sluice/base/ && rm charts/sluice/base/kustomization.yaml
	@cp artifacts/overlays/ha/*.yaml charts/sluice/ha/ && rm charts/sluice/ha/kustomization.yaml charts/sluice/ha/statefulset.yaml
	@cp artifacts/components/cert-manager/certificates.yaml charts/sluice/cert-manager/
	@$(GO) -C test/install test -buildvcs=false -count=1 -run '^TestReadmeOfTheChart$$' . -args -update

.PHONY: verify-format
verify-format:
	@unformatted=$$(gofmt -l cmd pkg hack test); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi

.PHONY: verify-vet
verify-vet:
	@$(GO) vet ./...
	@$(GO) -C hack/localcluster vet ./...
	@$(GO) -C test/install vet ./...

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

# What a real node needs of the distribution: kube-proxy runs nft, and runc is linked with libseccomp. It is
# installed where it can be, and what is missing then is told by whoever needs it: "localcluster missing".
.PHONY: node-packages
node-packages:
	@if [ "$$(uname -s)/$$(id -u)" = Linux/0 ] && command -v apt-get >/dev/null && \
	    ! { command -v nft && command -v pkg-config && echo '#include <seccomp.h>' | $${CC:-gcc} -E -; } >/dev/null 2>&1; then \
	  { apt-get update -qq && apt-get install -y -qq nftables libseccomp-dev pkg-config gcc libc6-dev; } || \
	    echo "what a real node needs of the distribution cannot be installed" >&2; \
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
test: verify test-unit test-simulator test-mutation test-integration test-install test-e2e test-real ## Run all checks and tests that continuous integration runs.

.PHONY: test-unit
test-unit: prometheus ## Run the unit tests.
	@$(if $(RACE),,echo "no C compiler: the tests run without the race detector" >&2)
	$(GO) test -buildvcs=false $(RACE) ./cmd/... ./pkg/... ./hack/... ./test/architecture ./test/argocd/... ./test/conformance ./test/metrics ./test/benchmark/... ./test/demo/... ./test/demoapp/... ./test/traffic/... ./test/picture/... ./test/cluster/... ./test/contest/... ./test/reliability ./test/rbac
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
	@echo "whether two versions serve side by side is not tested here, but by make test-adjacent" >&2
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m ./test/integration/...

.PHONY: test-install
test-install: localcluster ## Compare chart, overlays, image and Dockerfile, and apply them to a control plane.
	$(GO) -C test/install test -buildvcs=false -count=1 -timeout 30m ./...

# What these tests do most of the time is wait, so that more of them than there are processors run at once.
.PHONY: test-e2e
test-e2e: localcluster prometheus ## Run everything end to end on local control planes.
	$(GO) test -buildvcs=false -count=1 -timeout 40m -parallel 4 ./test/cluster/... ./test/e2e/...

.PHONY: test-real
test-real: localcluster node-packages ## Run Sluice as users install it, with real containers under load; says why if it cannot.
	@missing=$$($(LOCALCLUSTER) missing 2>&1) || echo "tests with real pods cannot run here: $${missing#localcluster: }" >&2
	$(GO) test -buildvcs=false -count=1 -timeout 40m ./test/real/...

.PHONY: test-hosts
test-hosts: localcluster prometheus ## Run everything end to end on older versions of Kubernetes: HOSTS="1.34".
	for host in $(HOSTS); do \
	  SLUICE_HOST=$$host $(GO) test -buildvcs=false -count=1 -timeout 60m -parallel 4 ./test/e2e/...; \
	  SLUICE_HOST=$$host $(GO) -C test/install test -buildvcs=false -count=1 -timeout 30m -run '^TestAControlPlaneAcceptsAll$$' .; \
	done

# The version before is built from the history of the repository.
.PHONY: test-adjacent
test-adjacent: localcluster ## Have this version serve side by side with the one before: OLDER=COMMIT.
	@rm -rf _local/older && mkdir -p _local/older/source
	git archive $(OLDER) | tar -x -C _local/older/source
	$(GO) -C _local/older/source build -buildvcs=false -o $(CURDIR)/_local/older/sluice-apiserver ./cmd/apiserver
	@rm -rf _local/older/source
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m -v ./test/integration -run '^TestTwoVersionsServeSideBySide$$' -older=$(CURDIR)/_local/older/sluice-apiserver

.PHONY: test-long
test-long: localcluster node-packages prometheus ## Run what takes too long for every change: more random cases, everything again and again.
	$(GO) test -buildvcs=false -count=1 -timeout 60m ./pkg/engine -rapid.checks=10000 -rapid.steps=50
	$(MAKE) test-simulator JOURNEYS=300000 JOURNEYS_SEED=$$RANDOM
	$(MAKE) test-mutation MUTANTS=all
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 20m ./test/integration -run '^TestCertificatesAreReplacedUnderLoad$$' -v -certificates.lifetime=1m
	$(GO) test -buildvcs=false $(RACE) -count=3 -timeout 60m ./test/integration/... -contest.rounds=200
	$(GO) test -buildvcs=false -count=3 -timeout 60m -parallel 4 ./test/e2e/...
	$(MAKE) test-adjacent
	$(MAKE) test-hosts
	$(GO) -C test/install test -buildvcs=false -count=1 -timeout 60m . -run '^TestImage$$' -args -platforms=linux/amd64,linux/arm64
	$(GO) test -buildvcs=false -count=1 -timeout 60m -v ./test/ha/...
	$(MAKE) reliability
