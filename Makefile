# Wasmill. `make` alone lists the targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GO       ?= go
# Everything is pure Go: the binary needs no C library. The race detector does.
export CGO_ENABLED := 0
BIN      := bin/wasmill
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s
PKGS     ?= ./...
# CI tries what failed once more by itself and names what is flaky.
# .ci/toolchains puts AssemblyScript there.
export PATH := $(PATH):$(CURDIR)/.ci/assemblyscript/node_modules/.bin
GOTEST   := .ci/toolchains && $(GO) run .ci/gotest/main.go $(if $(filter true,$(CI)),-again)

# golangci-lint is pinned in a module file of its own and built by Go itself.
LINT := $(GO) tool -modfile=.ci/tools/go.mod golangci-lint

##@ Use it

.PHONY: run
run: build ## Run the earthquake example on real events; Ctrl-C stops it (ONCE=1: exit when shown)
	@examples/earthquakes/run.sh

.PHONY: build
build: ## Build bin/wasmill
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/wasmill

.PHONY: install
install: ## Install wasmill into Go's bin directory
	$(GO) install -trimpath -ldflags '$(LDFLAGS)' ./cmd/wasmill
	@dir=$$($(GO) env GOBIN); dir=$${dir:-$$($(GO) env GOPATH | cut -d: -f1)/bin}; echo "installed $$dir/wasmill"; \
	case ":$$PATH:" in *":$$dir:"*) ;; *) echo "put it on your PATH:  export PATH=\"$$dir:\$$PATH\"" ;; esac

.PHONY: release
release: ## Archives, Debian packages and checksums in dist/
	GO='$(GO)' cmd/wasmill/packaging/release '$(VERSION)' dist

##@ Work on it

.PHONY: test
test: ## go vet and all tests; names what was skipped (PKGS=./host/... for less)
	$(GO) vet $(PKGS)
	$(GOTEST) $(PKGS)

.PHONY: toolchains
toolchains: ## Install the compilers that tests of Rust, C and AssemblyScript need (Debian, as root)
	@TOOLCHAINS=install .ci/toolchains

.PHONY: race
race: export CGO_ENABLED := 1
race: ## All tests under the race detector
	$(GOTEST) -race -timeout=30m $(PKGS)

.PHONY: lint
lint: ## golangci-lint and module hygiene
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(LINT) config verify
	$(LINT) run

.PHONY: fmt
fmt: ## Format the source as lint wants it
	$(LINT) fmt

.PHONY: check
check: ## What CI runs
	@.ci/run

.PHONY: bench
bench: build ## Measure throughput and latency beside the native loop
	$(BIN) bench

.PHONY: sandbox
sandbox: ## Compare pipelines and loops in the sandbox with plain wazero; prints a table
	$(GO) test ./host -run '^$$' -bench '^BenchmarkSandbox$$' -benchtime 1x -timeout 30m

.PHONY: kills
kills: ## Kill the real process KILLS (20) times under load; prints lost, out of order, repeated
	WASMILL_KILLS=$(or $(KILLS),20) $(GO) test -count=1 -timeout 30m -v -run 'TestKilledUnderLoad' ./cmd/wasmill

.PHONY: takeovers
takeovers: ## Freeze and cut off the owner TAKEOVERS (5) times each; prints take-over times and zombie writes
	WASMILL_TAKEOVERS=$(or $(TAKEOVERS),5) $(GO) test -count=1 -timeout 30m -v -run 'TestAnOwnerThat' ./cmd/wasmill

.PHONY: reloads
reloads: ## Reload a plugin RELOADS (500) times under load; prints what was lost and the gaps
	WASMILL_RELOADS=$(or $(RELOADS),500) $(GO) test -count=1 -timeout 60m -v -run '^TestReloadUnderLoad$$' ./runtime/engine

.PHONY: torture
torture: ## Break the real process in every way for TORTURE_TIME (5m); prints a table (TORTURE_SEED=N: again; TORTURE_WORLDS=cluster,disk: some)
	TORTURE_TIME=$(or $(TORTURE_TIME),5m) TORTURE_SEED=$(TORTURE_SEED) TORTURE_WORLDS=$(TORTURE_WORLDS) $(GO) test -count=1 -timeout 0 -v -run '^TestTorture$$' ./runtime/internal/torture

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s) each
	@FUZZTIME=$(FUZZTIME) .ci/fuzz $(PKGS)

.PHONY: corrupt
corrupt: ## Damage a store at random CORRUPTIONS (200) times: whatever is lost is reported
	WASMILL_CORRUPTIONS=$${CORRUPTIONS:-$${WASMILL_CORRUPTIONS:-200}} $(GO) test -count=1 -timeout 30m -v -run '^TestCorruption$$' ./runtime/broker | grep -v level=

.PHONY: hostile
hostile: ## Run over a thousand hostile modules in 512 MiB beside a pipeline at 5,000 events/s; prints a table
	$(GO) test -v -count=1 -timeout 30m -tags proof -run '^TestProof$$' ./host/hostile

.PHONY: cover
cover: ## Test coverage by function, lowest first
	$(GO) test -coverprofile=coverage.out $(PKGS)
	@$(GO) tool cover -func=coverage.out | sort -k3 -n | head -40
	@$(GO) tool cover -func=coverage.out | tail -1

.PHONY: modules
modules: ## Rebuild the embedded plugins under plugins/builtin
	$(GO) run ./plugins/builtin/build

.PHONY: ui
ui: ## Rebuild the embedded dashboard under runtime/admin/ui (needs Node)
	@.ci/ui

.PHONY: ui-check
ui-check: ## Check that the embedded dashboard is what its sources make
	@.ci/ui --check

.PHONY: clean
clean: ## Remove what the targets above built
	rm -rf bin dist coverage.out
	find examples -name '*.wasm' -delete
	rm -rf examples/*/data examples/*/data.ledger

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
