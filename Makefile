# Millrace. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

# npm writes this file last, so it is newer than the lock exactly when the install is complete.
INSTALLED := node_modules/.package-lock.json
# Two makes at once must not install twice: the second would take the packages away from under the first.
LOCKED := $(shell command -v flock >/dev/null && echo flock Makefile)

.PHONY: help up down status doctor port-forward images push build-all push-all secrets new-job test soak bench check chart clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-14s %s\n", $$1, $$2}'

up: $(INSTALLED) ## local Kubernetes, the chart on it, and one job run for real; ARGS="--help" for more
	@node scripts/setup-all.ts $(ARGS)

down: $(INSTALLED) ## remove the local cluster with everything in it
	@node scripts/clean-all.ts $(ARGS)

status: $(INSTALLED) ## one screen: cluster, services, streams, last jobs
	@node scripts/status.ts $(ARGS)

doctor: $(INSTALLED) ## what this machine and the local cluster lack, with the fixes
	@node scripts/doctor.ts $(ARGS)

port-forward: $(INSTALLED) ## 127.0.0.1:4222 leads to the local NATS
	@node scripts/port-forward.ts $(ARGS)

images: $(INSTALLED) ## build the images as archives; prints references and paths
	@node scripts/images.ts

push: $(INSTALLED) ## push Millrace's image: make push REGISTRY=host/path
	@node scripts/push.ts --registry "$(REGISTRY)"

build-all: $(INSTALLED) ## build the images of the workers in jobs/ that have changed
	@node scripts/jobs/build-all.ts

push-all: $(INSTALLED) ## push those that a registry has not: make push-all REGISTRY=host/path
	@node scripts/jobs/push-all.ts --registry "$(REGISTRY)"

secrets: $(INSTALLED) ## write the Secret of the image jobs from jobs/.env; ARGS="--help" for more
	@node scripts/jobs/secrets.ts $(ARGS)

new-job: $(INSTALLED) ## write a new worker into jobs/: make new-job NAME=my-job
	@node scripts/jobs/new-job.ts --job "$(NAME)"

check: $(INSTALLED) ## lint, types and unit tests (seconds)
	@biome check --error-on-warnings .
	@tsc --noEmit
	@vitest run --project unit

test: $(INSTALLED) ## all the tests once, the end-to-end ones on a cluster of their own
	@node scripts/test-all.ts

soak: $(INSTALLED) ## the same tests in long rounds (SOAK=1), as long as they take
	@node scripts/test-all.ts --soak

bench: $(INSTALLED) ## measure against the raw API server and KEDA, on a cluster of its own; ARGS="--help" for more
	@node bench/main.ts $(ARGS)

chart: $(INSTALLED) ## write charts/millrace from synth/
	@node synth/main.ts

clean: ## remove what builds left in the checkout
	rm -rf node_modules dist

$(INSTALLED): package-lock.json package.json cli/package.json sdk/package.json
	@command -v npm >/dev/null || { echo "npm is missing. Install it with: apt-get install npm" >&2; exit 1; }
	@[ ! -L node_modules ] || { echo "node_modules is a link: installing would replace what it leads to. Remove the link, and run the same command again." >&2; exit 1; }
	@command -v go >/dev/null || { echo "Go 1.26 or newer is missing (Kubernetes is built from its modules). Install it from your distribution's golang package" >&2; exit 1; }
	@$(LOCKED) bash -c 'for file in $^; do [ $@ -nt $$file ] || stale=1; done; [ -z "$${stale:-}" ] && exit 0; \
	  npm ci --no-audit --no-fund --loglevel=error && touch $@ && exit 0; \
	  echo "npm packages could not be installed. If the npm registry refused: check npm config get registry, its credentials, the proxy settings of this shell and the network. If a disk is full: df -h. Then run the same command again." >&2; exit 1'
