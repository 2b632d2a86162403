# Touchstone: `make help` lists what there is.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

GO    ?= go
TOOLS := build/tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint
ACTIONLINT    := $(TOOLS)/actionlint
MODEL ?= fixtures/models/haiku.gguf
PORT  ?= 8080
RUNS  ?= 1000
BENCH_FORMATS ?= F16 Q8_0 Q4_0 Q4_K_M
# Sources of the native code, for the formatter.
NATIVE := $(shell git ls-files 'native/*.h' 'native/*.cc' 'native/*.cu' 'native/*.cuh' 'native/*.c' 2>/dev/null)

GATES    := gate1 openai
SABOTEUR := $(wildcard fixtures/saboteurs/native/*.[ch])

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the worker and the gate command into bin/
	$(GO) build -o bin/worker ./worker
	$(GO) build -o bin/gate ./gates/cmd/gate

.PHONY: gate1
gate1: ## Run Gate 1 against the bundled worker; report in reports/out/gate1/
	$(GO) tool ginkgo run ./gates/gate1

.PHONY: openai
openai: ## Run the gate for servers of the OpenAI API against the bundled worker; report in reports/out/openai/
	$(GO) tool ginkgo run ./gates/openai

.PHONY: soak
soak: ## Run the determinism soak (RUNS=…, ARGS="--duration 8h …"); report in reports/out/soak/
	$(GO) tool ginkgo run ./gates/soak -- --runs $(RUNS) $(ARGS)

.PHONY: test
test: ## Unit tests, import arrows and quick gates: what CI runs
	$(GO) test ./...

.PHONY: race
race: ## The tests under the race detector
	$(GO) test -race ./...

.PHONY: asan
asan: ## The native tests and the FFI and kernel specs under AddressSanitizer
	$(GO) test -asan -timeout 30m ./native ./native/abi ./native/cpu/... ./native/gguf ./native/sim/...
	GATE_REPORT_DIR=$(CURDIR)/reports/out/asan $(GO) test -asan -timeout 30m ./gates/gate1 -ginkgo.label-filter='/^(FFI|KRN|KV)-/'

.PHONY: teeth
teeth: ## Play every fault against every gate; matrices in reports/out/teeth/, their outcomes also beside the gates
	TEETH=all $(GO) tool ginkgo run -p ./gates/teeth
	for gate in $(GATES); do cp reports/out/teeth/$$gate/teeth.json gates/$$gate/teeth.json || exit; done

.PHONY: check-teeth
check-teeth: ## Fail if specs, faults or registry have changed since the faults were played
	$(GO) run ./gates/cmd/gate teeth

.PHONY: plan
plan: ## Write the lists of the gates' specs anew, after specs were added or renamed
	for gate in $(GATES); do rm -f build/$$gate-plan.txt; mkdir -p build; \
	  GATE_PLAN=$(CURDIR)/build/$$gate-plan.txt $(GO) test ./gates/$$gate -run '^TestGate' -count=1 && mv build/$$gate-plan.txt gates/$$gate/plan.txt || exit; done

# Models of the size of Qwen2.5-0.5B with random weights, for measuring speed.
build/models/%.gguf:
	$(GO) run ./fixtures/synthetic/cmd/synthesize --format $* --out $@

.PHONY: bench
bench: build $(BENCH_FORMATS:%=build/models/%.gguf) ## Measure load, prefill and decode of a 0.5B model, and each kernel, beside what this machine can do
	for format in $(BENCH_FORMATS); do bin/worker bench --model build/models/$$format.gguf $(ARGS) || exit; echo; done
	$(GO) run ./native/cpu/bench

.PHONY: native-lib
native-lib: ## Build the native library as a shared object, without Go
	@mkdir -p build
	native/build-lib.sh build/libtouchstone.so

.PHONY: cuda
cuda: ## Build the CUDA plugin with nvcc into build/cuda/
	native/cuda/build-plugin.sh

.PHONY: gpu-bundle
gpu-bundle: ## Make build/gpu-bundle: all that proves the plugin on a GPU machine without Go
	GO="$(GO)" native/cuda/bundle/make.sh

.PHONY: serve
serve: ## Serve the bundled model on 127.0.0.1:8080 (PORT=…, MODEL=…)
	$(GO) run ./worker serve --model $(MODEL) --port $(PORT)

.PHONY: lint
lint: $(GOLANGCI_LINT) $(ACTIONLINT) ## gofmt, go vet, golangci-lint, actionlint, clang-format
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...
	$(ACTIONLINT)
	clang-format --dry-run --Werror $(NATIVE) $(SABOTEUR)

.PHONY: format
format: ## Format Go and C++ sources in place
	gofmt -w .
	clang-format -i $(NATIVE) $(SABOTEUR)

$(GOLANGCI_LINT):
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

$(ACTIONLINT):
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: clean
clean: ## Remove what was built and reported here
	rm -rf bin build reports/out
