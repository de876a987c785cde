# Everything a contributor types. The virtual environment is made on first use and kept up to date.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PYTHON ?= python3
# The tests start hundreds of processes; without bytecode each of them compiles everything once more.
unexport PYTHONDONTWRITEBYTECODE
PROCESSES ?= auto
PYTEST_FLAGS ?=
ONLY ?=
SCALE ?= 1000000

PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --constraint constraints.txt --build-constraint constraints.txt
TRANSPORT := $(shell find transport -name '*.rs' -o -name '*.py' -o -name '*.toml' 2>/dev/null)
# Those with a server in them: neither simulations nor what the compiler wrapper does by itself.
SERVING_TESTS := tests/contracts tests/deploy/test_pods_processes.py tests/e2e tests/integration $(addprefix tests/unit/,cas core executor \
	server) --ignore=tests/unit/clients/compile tests/unit/clients
PACKAGES := bazel busybox bwrap cargo clang clang-runtime cmake fusermount3 g++ git ld.lld make meson ninja npm postgresql rustc strace
TOOLS := bazel-2.1.0 buf-1.75.0 buildstream-2.8.1 grpcurl-1.9.3 helm-3.21.4 pyerfa-2.0.1.5

.PHONY: help demo test test-transports soak fuzz-transport check bench bench-compile protos format clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: .venv/runtime .venv/transport ## Build a C++ example with a server of its own, and show plain, cold and warm times
	@scripts/install_system_packages.sh g++
	@.venv/bin/python scripts/demo.py

test: .venv/development ## Run the tests, with real Bazel too; installs what they need
	@scripts/install_system_packages.sh $(PACKAGES)
	@scripts/install_tools.sh $(TOOLS) minio
	@$(MAKE) .venv/transport
	@.venv/bin/pytest -n $(PROCESSES) --dist worksteal $(PYTEST_FLAGS)

test-transports: .venv/development ## Run the tests that serve gRPC once more, on the transport that is not the default
	@if .venv/bin/python -c 'import reapi_transport' 2>/dev/null; then \
		REAPI_TEST_TRANSPORT=grpc.aio .venv/bin/pytest $(SERVING_TESTS) -n $(PROCESSES) --dist worksteal $(PYTEST_FLAGS); \
	else echo "There is no other transport here than grpc.aio, on which the tests ran already"; fi

soak: .venv/development .venv/transport ## Run the tests that take long, which `make test` leaves out
	@scripts/install_system_packages.sh $(PACKAGES)
	@scripts/install_tools.sh $(TOOLS) fastjet-3.5.2.0 minio
	@.venv/bin/pytest -m soak -n $(PROCESSES) --dist worksteal $(PYTEST_FLAGS)

fuzz-transport: ## Fuzz the codec of transport/ for a minute
	@scripts/install_system_packages.sh g++
	@scripts/fuzz_transport.sh 60

check: .venv/development ## Format, lint, types, layers, protos, pinned versions: what CI checks beside the tests
	@scripts/install_system_packages.sh npm
	@scripts/install_tools.sh buf-1.75.0
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	MYPYPATH=src:transport/python .venv/bin/mypy -p reapi -p reapi_transport
	.venv/bin/lint-imports
	.cache/tools/buf-1.75.0 lint
	.venv/bin/python protos/generate.py --check
	.venv/bin/python scripts/check_constraints.py
	@scripts/build_transport.sh --check

bench: .venv/development .venv/transport ## Measure the service; ONLY=NAME for some rows, SCALE=ROWS of the large index
	@.venv/bin/python -m bench "$(ONLY)" --scale $(SCALE)

bench-compile: .venv/benchmarks ## Measure reapi-cc beside ccache, sccache, distcc and icecream; ONLY=NAME
	@scripts/install_system_packages.sh ccache distcc g++ icecc redis-server
	@.venv/bin/python -m bench.compile "$(ONLY)"

protos: .venv/development ## Generate protos/gen from the .proto files
	@.venv/bin/python protos/generate.py

format: .venv/development ## Format the code and repair what the linter can
	@.venv/bin/ruff check --fix --quiet
	@.venv/bin/ruff format

clean: ## Delete what was made here: .venv, .cache and build
	@rm -rf .venv .cache build

# The file of each name is a stamp: newer than what it was made from, so nothing is to be done.
.venv/pip: constraints.txt
	@scripts/install_system_packages.sh venv
	@echo "Making the virtual environment .venv"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try PYTHON=...") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt pip
	@touch $@

.venv/runtime: .venv/pip pyproject.toml
	@echo "Installing the project and what it needs"
	@$(INSTALL) --editable .
	@touch $@

.venv/development: .venv/runtime
	@echo "Installing the development tools"
	@$(INSTALL) --editable . --group dev
	@touch $@

# Made by the script where it builds something; elsewhere it says each time why it does not.
.venv/transport: .venv/runtime constraints.txt $(TRANSPORT)
	@scripts/build_transport.sh

.venv/benchmarks: .venv/development
	@echo "Installing what is measured beside the project"
	@$(INSTALL) --editable . --group benchmarks
	@touch $@
