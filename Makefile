# `make` alone says what there is. The test bed is a real cluster with a real Velero: tests/cluster/README.md.
.PHONY: help demo demo-down test truth image scenarios safety applications soak bed-build bed-up bed-down

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a cluster, a backup, a drill that passes and one that must not
	tests/demo/demo

demo-down: bed-down ## end the demo's cluster and remove its data

test: ## everything: format, lint, unit tests, a real cluster, all scenarios
	tests/run

truth: ## only the truth suite: sabotaged backups must lose points for the right reason, healthy applications must not
	tests/run bed image truth

safety: ## only the safety suite: harms to a production beside, runs that are killed, an API server that fails
	tests/run bed image safety

image: ## the image, as build/image.tar
	tests/image/build

scenarios: ## only the other scenarios, on the bed with the image of this tree
	tests/run bed image scenarios

applications: ## eighteen real applications, which must be worth 100 points; not part of test, as their image takes minutes to make
	tests/run bed image applications

soak: ## more of it, for hours: SEEDS (50) other seeds, as many runs killed at random, and long outages in every phase
	tests/run bed image
	tests/soak/all $(SEEDS)

bed-build: ## compile the test bed (20 minutes the first time, then only what changed)
	tests/cluster/build

bed-up: ## start this checkout's test bed: a cluster with Velero
	tests/cluster/up velero

bed-down: ## end it and remove its data
	tests/cluster/down --wipe
