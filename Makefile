# What can be done here; each target makes the environment it needs. `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# The interpreter that environments are made with, and how many tests run at a time.
PYTHON ?= python3
WORKERS ?= 2
export PYTHON
unexport PYTHONPATH  # only this checkout is tested

VENV := .venv/bin
PYTEST := -m pytest -n $(WORKERS)
TESTS := $(PYTEST) --durations=10 --durations-min=1
REAL_MODELS := smollm2-135m gemma3-270m
# The folder with EAP-IG's package eap; set it to one of your own to do without GitHub.
EAP_IG_SOURCE ?= .cache/EAP-IG/src
SETUP := scripts/venv.sh pyproject.toml

.PHONY: help demo chromium test test-matrix test-legacy test-tl3 test-plugins test-ndif test-real test-pythons bench bench-shapes bench-guard bench-accuracy bench-algorithms bench-evaluation bench-peers architectures docs lint types coverage release-check clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: .venv/.installed ## Find a circuit in a shipped model, offline
	$(VENV)/eap demo

test: .venv/.installed chromium ## Run the tests, but for those of every family, algorithm and option
	OMP_NUM_THREADS=1 $(VENV)/python $(TESTS) -m "not exhaustive"

chromium:
	@scripts/chromium.sh

coverage: .venv/.installed chromium ## Run all tests, and require that they run 95 % of the package, lines and branches
	$(VENV)/coverage erase
	OMP_NUM_THREADS=1 $(VENV)/coverage run $(TESTS)
	$(VENV)/coverage combine --quiet
	$(VENV)/coverage report

test-matrix: .venv/.installed ## Run every algorithm with every option on every family, and write docs/matrix.md
	MATRIX=full OMP_NUM_THREADS=1 $(VENV)/python $(PYTEST) tests/matrix

test-legacy: .venv-legacy/.installed ## Run those for HookedTransformer, with transformer-lens 2 and AutoCircuit
	OMP_NUM_THREADS=1 .venv-legacy/bin/python $(PYTEST) tests/legacy

test-tl3: .venv-tl3/.installed ## Run those for HookedTransformer, with transformer-lens 3
	OMP_NUM_THREADS=1 .venv-tl3/bin/python $(PYTEST) tests/legacy/hooked

test-plugins: .venv/.installed ## Run those that install plugins, in an environment of their own
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest tests/plugins

test-real: $(REAL_MODELS:%=.cache/%/config.json) ## Run those on SmolLM2-135M and Gemma 3 270M (330 MB to download)
	OMP_NUM_THREADS=2 $(VENV)/python -m pytest tests/real

test-ndif: .venv-ndif/.installed ## Run those that need an NDIF server, on one started here (2 GB to install)
	PYTHONPATH=$(CURDIR):$(CURDIR)/.venv-ndif/client OMP_NUM_THREADS=1 .venv-ndif/bin/python -m pytest tests/ndif

test-pythons: .venv/.installed ## Run those that need no PyTorch on each supported Python found
	scripts/test_pythons.sh

bench: .venv/.installed ## Measure start-up, and time and memory on GPT-2-small's shape
	$(VENV)/python benchmarks/bench_startup.py
	$(VENV)/python benchmarks/bench_eap.py

bench-shapes: .venv/.installed ## Measure EAP next to the plain passes on models of several shapes
	$(VENV)/python benchmarks/bench_shapes.py

bench-guard: .venv/.installed ## Check in less than a minute that scoring has not become dearer
	$(VENV)/python benchmarks/guard.py

bench-accuracy: .venv/.installed ## Compare every algorithm with activation patching on the shipped models
	$(VENV)/python benchmarks/bench_accuracy.py

bench-evaluation: .venv/.installed ## Measure what evaluating one more circuit costs
	$(VENV)/python benchmarks/bench_evaluation.py

bench-peers: .venv/.installed .venv-legacy/.installed $(EAP_IG_SOURCE) ## Compare with AutoCircuit, EAP-IG and TransformerLens on the same model
	EAP_IG_SOURCE=$(EAP_IG_SOURCE) $(VENV)/python benchmarks/bench_peers.py

bench-algorithms: .venv/.installed ## Measure every algorithm next to EAP
	$(VENV)/python benchmarks/bench_algorithms.py

architectures: .venv/.installed ## Write docs/architectures.md anew
	OMP_NUM_THREADS=1 $(VENV)/python -m scripts.list_architectures

docs: .venv/.installed ## Build the documentation site in build/site
	$(VENV)/python -m scripts.gallery
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --quiet

lint: .venv/.installed ## Check style, and that layers import only those below them
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports --no-logo --no-cache

types: .venv/.installed ## Check types
	$(VENV)/mypy

release-check: .venv/.installed ## Check version and changelog, build wheel and sdist, and run the demo from each
	scripts/release_check.sh

clean: ## Remove environments, caches and what was built
	rm -rf .coverage* .venv .venv-legacy .venv-tl3 .venv-ndif .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/.installed: constraints/main.txt $(SETUP)
	scripts/venv.sh .venv constraints/main.txt dev,gguf

.venv-legacy/.installed: constraints/legacy.txt $(SETUP)
	scripts/venv.sh .venv-legacy constraints/legacy.txt test auto-circuit attrs matplotlib

.cache/EAP-IG/src:
	git init --quiet .cache/EAP-IG
	git -C .cache/EAP-IG fetch --quiet --depth 1 https://github.com/hannamw/EAP-IG 795f5607b25638935aec89aee3c1cb4bd9ed72f1
	git -C .cache/EAP-IG checkout --quiet FETCH_HEAD

.venv-ndif/.installed: constraints/ndif.txt pyproject.toml tests/ndif/venv.sh
	tests/ndif/venv.sh

.venv-tl3/.installed: constraints/tl3.txt $(SETUP)
	scripts/venv.sh .venv-tl3 constraints/tl3.txt test

.cache/%/config.json: | .venv/.installed
	$(VENV)/python scripts/fetch_real_models.py $*
