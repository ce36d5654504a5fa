# Everything a developer, CI and a first-time visitor do here. `make help` lists it.
# `make demo` and `make test` need Go, git and make, nothing else.

.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# --- Pinned tools: this is the one place. -------------------------------------------------------
# protoc-gen-go goes with google.golang.org/protobuf in proto/go.mod: `make proto-check` compares.
GOLANGCI_LINT_VERSION := v2.15.0
BUF_VERSION           := v1.75.0
PROTOC_GEN_GO_VERSION := v1.36.12
HELM_VERSION          := v3.22.0
KUBECONFORM_VERSION   := v0.8.0

TOOLS         := $(CURDIR)/.tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint@$(GOLANGCI_LINT_VERSION)/golangci-lint
BUF           := $(TOOLS)/buf@$(BUF_VERSION)/buf
PROTOC_GEN_GO := $(TOOLS)/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)/protoc-gen-go
HELM          := $(TOOLS)/helm@$(HELM_VERSION)/helm
KUBECONFORM   := $(TOOLS)/kubeconform@$(KUBECONFORM_VERSION)/kubeconform

# --- The workspace. ------------------------------------------------------------------------------
MODULES  := $(shell sed -n 's|^\t\./||p' go.work)
SERVICES := ingress worker simulator
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Builds, vet and lint share one set of build flags, so they share one build cache. Without cgo the binaries run on any
# machine of their platform, and a machine without a C compiler builds the same ones.
GO         := CGO_ENABLED=0 go
GO_RELEASE := CGO_ENABLED=0 GOWORK=off go
LDFLAGS    := $(addprefix -X modal-github-runner/services/internal/obs.,version=$(VERSION) revision=$(shell git rev-parse HEAD 2>/dev/null))

DEMO_JOBS ?= 25
# Runs of each fuzz target. A count and not a time: a time limit that runs out on a busy machine fails
# the target now and then with "context deadline exceeded" (go.dev/issue/75804, not fixed in Go 1.26).
FUZZ_RUNS ?= 20000
FUZZ      ?= .
BENCH     ?= .
CHAOS_TIME ?= 10m
CHAOS_SEED ?= 1
TEST_FLAGS ?=

# Where tests record which faults they made happen. `make test` begins anew, longer suites add to it.
export FAULTS_DIR := $(TOOLS)/faults
FAULT_TABLE := $(GO) test -trimpath -count=1 -run '^TestTheTableOfFaultsSays' ./services/simulator/e2e -faults $(FAULTS_DIR)

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The first build compiles every library: minutes in which nothing else is said.
.PHONY: demo
demo: ## Serve DEMO_JOBS (25) jobs on this machine: no account, no container
	@echo "demo: building bin/ingress, bin/worker, bin/simulator and bin/nats-server; some minutes the first time, some seconds from then on"
	@$(MAKE) build
	@exec bin/simulator demo --jobs $(DEMO_JOBS)

# What simulate plays: so many jobs from the seed on, for so many seeds. More flags: `go run ./services/worker/cmd/simulate --help`.
JOBS  ?= 50000
SEED  ?= 1
SEEDS ?= 1

.PHONY: simulate
simulate: ## Play JOBS (50000) jobs through a bad day in virtual time, from SEED (1), SEEDS (1) of them
	@$(GO) run -trimpath ./services/worker/cmd/simulate --jobs $(JOBS) --seed $(SEED) --seeds $(SEEDS)

.PHONY: build
build: ## Build bin/ingress, bin/worker, bin/simulator and bin/nats-server as a release does
	@mkdir -p bin
	@for service in $(SERVICES); do \
	  (cd services/$$service && $(GO_RELEASE) build -trimpath -ldflags '$(LDFLAGS)' -o $(CURDIR)/bin/$$service ./cmd/$$service); \
	done
	@cd services/simulator && $(GO_RELEASE) build -trimpath -o $(CURDIR)/bin/nats-server github.com/nats-io/nats-server/v2

# The version of an image is that of the last commit that changed what it is made of, so that a change of the worker leaves ingress as
# it is.
image_revision = $$(git log -1 --format=%H -- proto services/internal services/$(1) deployments/docker)
IMAGE_VERSIONS = $(foreach s,ingress worker,export $(shell echo $(s) | tr a-z A-Z)_REVISION=$(call image_revision,$(s)); \
	export $(shell echo $(s) | tr a-z A-Z)_VERSION=$$(git describe --tags --always $(call image_revision,$(s)));)
ENV_FILE ?= .env
COMPOSE   = $(IMAGE_VERSIONS) docker compose --env-file $(ENV_FILE)

.PHONY: docker
docker: ## Build the images of ingress, worker and simulator
	@$(IMAGE_VERSIONS) docker compose --env-file deployments/compose/demo.env build ingress worker simulator

.PHONY: docker-digests
docker-digests: ## Pin the base images in the Dockerfile by the digests that their tags have now
	@for arg in GO_IMAGE BASE_IMAGE SHELL_IMAGE; do \
	  image=$$(sed -n "s/^ARG $$arg=\([^@]*\).*/\1/p" deployments/docker/Dockerfile); \
	  digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}'); \
	  sed -i "s|^ARG $$arg=.*|ARG $$arg=$$image@$$digest|" deployments/docker/Dockerfile; \
	  echo "$$image@$$digest"; \
	done

.PHONY: up
up: ## Start the compose stack with the settings in ENV_FILE (.env), and wait until it is ready
	@[ -e $(ENV_FILE) ] || { echo "up: no $(ENV_FILE): copy .env.example, or try ENV_FILE=deployments/compose/demo.env, which needs no account"; exit 1; }
	@$(COMPOSE) up --build --detach --wait

.PHONY: down
down: ## Stop the compose stack; its data stay
	@$(COMPOSE) down

##@ Test

# The race detector needs cgo, and `go env` says 0 where there is no C compiler.
.PHONY: test
test: ## Run every test but the long ones, with the race detector where there is a C compiler
	@rm -rf $(FAULTS_DIR); race=-race; \
	if [ "$$(go env CGO_ENABLED)" != 1 ]; then race=; echo "test: no C compiler, so no race detector"; fi; \
	go test $$race -shuffle=on -count=1 -short -timeout 10m $(TEST_FLAGS) work

.PHONY: e2e
e2e: ## Run the whole end-to-end suite, long tests too
	@$(GO) test -trimpath -count=1 -timeout 60m $(TEST_FLAGS) ./services/simulator/e2e/...

# The test bounds itself, whatever the time for mishaps is.
.PHONY: chaos
chaos: ## Kill, freeze and cut off real processes under load for CHAOS_TIME (10m), as CHAOS_SEED (1) decides
	@$(GO) test -trimpath -count=1 -timeout 0 -v -run '^TestChaos$$' ./services/simulator/e2e -chaos-time=$(CHAOS_TIME) -chaos-seed=$(CHAOS_SEED)

.PHONY: compose-test
compose-test: ## Serve jobs through the compose stack while its parts are killed and replaced; CLUSTER=1: three NATS servers (needs Docker with Compose, and curl)
	@deployments/compose/test.sh

.PHONY: mutants
mutants: ## Play the exact simulator at length, and show that it catches each line broken on purpose
	@$(GO) test -trimpath -count=1 -timeout 60m $(TEST_FLAGS) ./services/worker/internal/exact

.PHONY: faults
faults: test e2e chaos ## Run all tests, and write the table of faults in services/simulator/README.md from what they did
	@$(FAULT_TABLE) -update

.PHONY: fuzz
fuzz: ## Fuzz each target (or those that FUZZ matches) FUZZ_RUNS (20000) times
	@targets=$$(grep -rEo --include="*_test.go" "^func Fuzz[A-Za-z0-9_]+" $(MODULES) | sed "s/:func / /" | grep -E "$(FUZZ)" | sort); \
	[ -n "$$targets" ] || { echo "fuzz: no target matches $(FUZZ)"; exit 1; }; \
	echo "$$targets" | while read -r file target; do \
	  echo "fuzz: $$target in $${file%/*}"; \
	  $(GO) test -trimpath -run "^$$" -fuzz "^$$target$$" -fuzztime $(FUZZ_RUNS)x "./$${file%/*}"; \
	done

.PHONY: bench
bench: ## Run the benchmarks (or those that BENCH matches)
	@$(GO) test -trimpath -run '^$$' -bench '$(BENCH)' -benchmem work

##@ Check

# What verify runs, in order: what is quick to fail comes first.
VERIFY := proto-check tidy-check rules-check kubeconform vet build-check lint test faults-check fuzz
# What has run already: `make verify DONE=test` runs the rest.
DONE ?=

.PHONY: verify
verify: ## Do all that CI does
	@for stage in $(filter-out $(DONE),$(VERIFY)); do \
	  echo "verify: $$stage"; start=$$(date +%s); \
	  $(MAKE) $$stage; \
	  echo "verify: $$stage took $$(($$(date +%s) - start)) s"; \
	done

.PHONY: faults-check
faults-check: ## Fail if the last make test made other faults happen than the table of faults says
	@$(FAULT_TABLE)

.PHONY: rules-check
rules-check: ## Check Prometheus's configuration, and test its rules (needs promtool, of Debian's package prometheus)
	@command -v promtool >/dev/null || { echo "rules-check: no promtool: install Debian's package prometheus"; exit 1; }
	@promtool check config --syntax-only deployments/prometheus/prometheus.yml
	@promtool check rules deployments/prometheus/rules/*.yml
	@promtool test rules deployments/prometheus/rules_test.yml

# Helm takes three minutes of a core to build, so that it is no part of verify. The tests notice a chart that was not rendered anew.
.PHONY: helm-check
helm-check: $(HELM) kubeconform ## Lint the Helm chart, and fail on renders that are stale (builds Helm first)
	@HELM=$(HELM) deployments/helm/check.sh

.PHONY: kubeconform
kubeconform: $(KUBECONFORM) ## Hold what the Helm chart makes against the schemas of Kubernetes, KEDA and others
	@$(KUBECONFORM) -strict -summary -schema-location 'deployments/helm/schemas/{{.ResourceKind}}.json' deployments/helm/renders

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint over all modules
	@CGO_ENABLED=0 GOFLAGS="$$(go env GOFLAGS) -trimpath" $(GOLANGCI_LINT) run $(MODULES:%=./%/...)

.PHONY: format
format: $(GOLANGCI_LINT) $(BUF) ## Format the Go and proto files
	@$(GOLANGCI_LINT) fmt $(MODULES)
	@$(BUF) format --write proto

.PHONY: vet
vet: ## Vet the workspace, and each module by its own go.mod
	@$(GO) vet -trimpath work
	@for module in $(MODULES); do (cd $$module && $(GO_RELEASE) vet -trimpath ./...); done

.PHONY: build-check
build-check: ## Build each module by its own go.mod, as a release does
	@for module in $(MODULES); do (cd $$module && $(GO_RELEASE) build -trimpath ./...); done

.PHONY: tidy
tidy: ## Tidy every go.mod
	@for module in $(MODULES); do (cd $$module && $(GO_RELEASE) mod tidy); done

.PHONY: tidy-check
tidy-check: ## Fail on a go.mod that is not tidy
	@for module in $(MODULES); do (cd $$module && $(GO_RELEASE) mod tidy -diff); done

##@ Generate

.PHONY: proto
proto: $(BUF) $(PROTOC_GEN_GO) ## Generate the Go code of the proto files
	@cd proto && PATH="$(dir $(PROTOC_GEN_GO)):$$PATH" $(BUF) generate

# What is on the queue was written by another version: wire compatibility is measured against the published main. Where the work
# tree is that main itself, it is measured against the commit before.
PROTO_BASE ?= $(shell base=$$(git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main); \
	if [ "$$base" = "$$(git rev-parse --verify --quiet HEAD)" ] && git diff --quiet HEAD -- proto; then git rev-parse --verify --quiet HEAD^; else echo "$$base"; fi)

.PHONY: proto-check
proto-check: $(BUF) $(PROTOC_GEN_GO) ## Lint the proto files, refuse breaking changes and stale generated code
	@$(BUF) format --exit-code --diff proto
	@$(BUF) lint proto
	@base="$(PROTO_BASE)"; \
	if [ -n "$$base" ] && [ -n "$$(git ls-tree "$$base" proto/buf.yaml)" ]; then \
	  $(BUF) breaking proto --against ".git#ref=$$base,subdir=proto"; \
	else \
	  echo "proto-check: no earlier version to compare with"; \
	fi
	@rm -rf $(TOOLS)/generated
	@cd proto && PATH="$(dir $(PROTOC_GEN_GO)):$$PATH" $(BUF) generate --output $(TOOLS)/generated
	@for file in $$( (cd proto && find * -name '*.pb.go'; cd $(TOOLS)/generated && find * -name '*.pb.go') | sort -u); do \
	  diff -uN "proto/$$file" "$(TOOLS)/generated/$$file" || { echo "proto-check: proto/$$file is stale: run make proto"; exit 1; }; \
	done

.PHONY: helm
helm: $(HELM) ## Render the Helm chart for each of its cases
	@HELM=$(HELM) deployments/helm/check.sh update

.PHONY: docs
docs: ## Generate the tables of README.md from the programs
	@$(GO) test -trimpath -count=1 -run "^TestREADME|^TestDashboards" ./services/simulator/e2e -update

# --- Tools, each in a folder that is named after its version. ------------------------------------
$(GOLANGCI_LINT):
	GOBIN=$(@D) $(GO) install -trimpath github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

$(BUF):
	GOBIN=$(@D) $(GO) install -trimpath github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)

$(PROTOC_GEN_GO):
	GOBIN=$(@D) $(GO) install -trimpath google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)

$(HELM):
	GOBIN=$(@D) $(GO) install -trimpath helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

$(KUBECONFORM):
	GOBIN=$(@D) $(GO) install -trimpath github.com/yannh/kubeconform/cmd/kubeconform@$(KUBECONFORM_VERSION)
