# Each target is one command that can also be typed by hand.
.DEFAULT_GOAL := help
.PHONY: help build release release-check test short long race lint fuzz bench bench-check bench-peers deploy-check interop plots ci

TOOLS ?= $(or $(TOKENBROKER_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tokenbroker-tools)
GOLANGCI_VERSION := $(shell sed -n 's/^GOLANGCI_VERSION=//p' .ci/run)
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
FUZZTIME ?= 10s
BENCH ?= .

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the binaries into dist/
	go build -trimpath -o dist/ ./cmd/tokenbroker ./cmd/tokenbroker-bench

release: ## build the files of a release into dist/; PLATFORMS=linux/amd64 selects platforms, VERSION=v1.2.3 sets the name
	.ci/release

release-check: ## build it twice, from two directories and with two build caches, and compare the checksums
	.ci/release --check

test: ## run all tests (the README's command)
	go test ./...

short: ## run the tests without kills, browsers, benches and the commands of the documents
	go test -short ./...

long: ## run all tests with many more seeds, kills, damages and minutes (two hours)
	TEST_LONG=1 go test -timeout 3h ./...

race: ## run all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

lint: $(GOLANGCI) ## run the pinned golangci-lint
	$(GOLANGCI) run ./...

$(GOLANGCI):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

fuzz: ## run each fuzz test for FUZZTIME (10s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file" | while read -r name; do \
	    echo "$$name ($$(dirname "$$file"))"; \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null || exit 1; \
	  done || exit 1; \
	done

bench: ## run the benchmarks that match BENCH (all)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

bench-check: ## compare the ratios of the benches with the recorded ones (bench/README.md)
	go run ./bench/check

bench-peers: ## check and measure the validator and other libraries, for the benchmarks that match BENCH (all); bench/peers/README.md
	cd bench/peers && go test -bench '$(BENCH)' ./...

deploy-check: ## render the manifests of Kubernetes and the chart of Helm and check their objects (deploy/check)
	cd deploy/check && go vet ./... && go test -count=1 ./...

interop: ## run clients of other projects against the broker: oauth2-proxy, kube-apiserver, MCP (interop)
	cd interop && go vet ./... && go test -count=1 ./...

plots: ## measure and draw the figures of docs/performance.md (ten minutes)
	go test -run '^$$' -bench '^BenchmarkValidateSeenBefore$$|^BenchmarkDenylist(LookUp|Fill)$$' -cpu 1 -benchtime 300ms -count 3 ./bench >docs/plots/measured.txt
	go test -run '^$$' -bench '^BenchmarkPropagation$$|^BenchmarkRefreshGrowth$$' -benchtime 3s ./bench >>docs/plots/measured.txt
	go run ./bench/plot -o docs/plots docs/plots/measured.txt

ci: ## run all checks that a change has to pass before it lands
	.ci/run
