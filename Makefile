PYTHON ?= python3
BIN := .venv/bin
# Test processes at a time: much of the time of a test is waiting, so more than there are cores.
WORKERS ?= 6
# Of each kind of process in each run of the crash tests.
KILLS ?= 8
LOCKED := requirements/build.txt requirements/runtime.txt requirements/dev.txt
# For every platform, with the checksums of all files that may be taken.
HASHED := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-deps -

.PHONY: help demo test unit-others crash soak hostile end-to-end bench lint generate chart image image-suite cluster node pictures lock clean
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/installed ## Send three messages through the whole system on this machine, and look
	@$(BIN)/python -m demo

test: .venv/installed ## Unit and integration tests, against real processes on loopback; WORKERS=6 at a time
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

unit-others: ## The unit tests on Python 3.12 and 3.13 as well, where they are found: on the PATH, or with pyenv
	@WORKERS=$(WORKERS) .ci/unit-others

crash: .venv/installed ## Kill processes at random moments under load and count every message (minutes); KILLS=8 of each kind
	KILLS=$(KILLS) $(BIN)/python -m pytest tests/crash --timeout 1800 -s

soak: .venv/installed ## What takes longer, before a release: 20 kills of each kind, more examples, longer attacks, the whole benchmark; log in build/soak
	@.ci/soak

end-to-end: .venv/installed ## Real peers: needs Debian packages postfix, dovecot-imapd, dovecot-pop3d, dovecot-lmtpd, swaks, libnet-ssleay-perl, prometheus, opendkim, loki, mailauth, oidc-provider, Exim and OpenSMTPD (tests/end_to_end/*/build)
	$(BIN)/python -m pytest tests/end_to_end

hostile: .venv/installed ## Honest clients beside attackers, in a table: needs root, for a control group; options in HOSTILE='…'
	@$(BIN)/python -m bench.hostile $(HOSTILE)

bench: .venv/installed ## Throughput beside Postfix: needs the Debian package postfix; options in BENCH='…'
	@$(BIN)/python -m bench $(BENCH)

lint: .venv/installed ## Style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: .venv/installed ## Write again what is made from the code
	$(BIN)/python -m docs.generate

chart: .venv/installed $(if $(NATS_SERVER),,build/nats-server) ## Render the Helm chart in every way, check it, run its NATS and its Unbound: needs helm, go and the Debian package unbound
	NATS_SERVER=$(or $(NATS_SERVER),build/nats-server) $(BIN)/python -m pytest tests/chart -n $(WORKERS) --dist worksteal

build/nats-server: deploy/nats-server/build deploy/nats-server/go.mod deploy/nats-server/go.sum
	deploy/nats-server/build $@

image: .venv/installed ## Build the container image and run every service from it: needs root, go, podman, buildah, runc, netavark, aardvark-dns, debootstrap, openssl
	$(BIN)/python -m pytest tests/image

image-suite: ## The integration and crash tests with the interpreter and the nats-server of the image: needs what `make image` needs; KILLS=8
	tests/image/build localhost/jetpost-suite:test
	KILLS=$(KILLS) WORKERS=$(WORKERS) tests/image/suite localhost/jetpost-suite:test

cluster: .venv/installed ## Install, scale, kill, upgrade on a cluster: needs kubectl, helm, KUBECONFIG=…, CLUSTER_IMAGE=repository:tag, best CLUSTER_NEXT_IMAGE=…
	@test -n "$$KUBECONFIG" -a -n "$$CLUSTER_IMAGE" || { echo 'usage: make cluster KUBECONFIG=… CLUSTER_IMAGE=repository:tag'; exit 2; }
	$(BIN)/python -m pytest tests/cluster -s

node: .venv/installed ## The same on a Kubernetes of one node that is made here: needs root, helm, and what tests/cluster/node/run names
	tests/image/build localhost/jetpost-node:test
	tests/cluster/node/run localhost/jetpost-node:test $(MAKE) cluster CLUSTER_IMAGE=localhost/jetpost-node:test

pictures: .venv/installed ## Draw the dashboards of the documents from a live system: needs the Debian package prometheus
	$(BIN)/pip install --quiet --no-input --no-build-isolation --editable '.[pictures]'
	$(BIN)/python -m pytest tests/end_to_end/draw_pictures.py

lock: ## Renew requirements/ from pyproject.toml
	rm -rf build/lock && mkdir -p build && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --no-input .
	build/lock/bin/pip freeze --exclude jetpost > build/lock/runtime
	build/lock/bin/pip install --quiet --no-input '.[dev]'
	build/lock/bin/pip freeze --exclude jetpost | grep -vxFf build/lock/runtime > build/lock/dev
	build/lock/bin/pip install --quiet --no-input uv
	echo '# What makes a wheel of Jetpost. Renewed by `make lock`.' > requirements/build.txt
	echo setuptools | $(HASHED) >> requirements/build.txt
	echo '# What Jetpost runs with, to the byte as it was tested. Renewed by `make lock`.' > requirements/runtime.txt
	$(HASHED) < build/lock/runtime >> requirements/runtime.txt
	printf '%s\n' '# What builds and tests Jetpost, beside what it runs with. Renewed by `make lock`.' '-r runtime.txt' '-r build.txt' > requirements/dev.txt
	$(HASHED) < build/lock/dev >> requirements/dev.txt
	rm -rf build/lock

clean: ## Remove what make made
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/installed: $(LOCKED) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	@echo 'setting up .venv, once …'
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-input -r requirements/dev.txt
	@$(BIN)/pip install --quiet --no-input --no-build-isolation --no-deps --editable .
	@touch $@
