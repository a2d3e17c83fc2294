# Millrace. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

# npm writes this file last, so it is newer than the lock exactly when the install is complete.
INSTALLED := node_modules/.package-lock.json

.PHONY: help up down status port-forward test check chart clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-14s %s\n", $$1, $$2}'

up: $(INSTALLED) ## local Kubernetes, the chart on it, and one job run for real
	@node scripts/setup-all.ts

down: $(INSTALLED) ## remove the local cluster with everything in it
	@node scripts/clean-all.ts

status: $(INSTALLED) ## one screen: cluster, services, streams, last jobs
	@node scripts/status.ts

port-forward: $(INSTALLED) ## 127.0.0.1:4222 leads to the local NATS
	@node scripts/port-forward.ts

check: $(INSTALLED) ## lint, types and unit tests (seconds)
	@biome check --error-on-warnings .
	@tsc --noEmit
	@vitest run --project unit

test: $(INSTALLED) ## all the tests, the end-to-end ones on a cluster of their own
	@node scripts/test-all.ts

chart: $(INSTALLED) ## write charts/millrace from synth/
	@node synth/main.ts

clean: ## remove what builds left in the checkout
	rm -rf node_modules dist

$(INSTALLED): package-lock.json package.json cli/package.json
	@command -v npm >/dev/null || { echo "npm is missing. Install it with: apt-get install npm" >&2; exit 1; }
	@command -v go >/dev/null || { echo "Go 1.26 or newer is missing (Kubernetes is built from its modules). Install it from your distribution's golang package" >&2; exit 1; }
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@
