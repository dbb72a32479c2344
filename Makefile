# `make` alone says what there is. The test bed is a real cluster with a real Velero: tests/cluster/README.md.
.PHONY: help bed-build bed-up bed-down

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bed-build: ## compile the test bed (20 minutes the first time, then only what changed)
	tests/cluster/build

bed-up: ## start this checkout's test bed: a cluster with Velero
	tests/cluster/up velero

bed-down: ## end it
	tests/cluster/down
