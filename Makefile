# Python 3.11 or newer and GNU make are all this needs. `make help` lists the targets.

PYTHON ?= python3
CHROMIUM ?= chromium
EXTRAS ?=

comma := ,
extras := dev$(if $(EXTRAS),$(comma)$(EXTRAS))
bin := .venv/bin
# One stamp for each set of extras: another set installs again, and so does a changed pyproject.toml.
installed := .venv/installed-$(subst $(comma),+,$(extras))

.DEFAULT_GOAL := help
.PHONY: help install demo test slow check bench soak picture clean

help: ## Show this list
	@echo "make TARGET [PYTHON=python3.12] [EXTRAS=a,b]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' Makefile

install: $(installed) ## Make .venv with Tacit, its tests and tools; EXTRAS=a,b adds extras

demo: install ## Fine-tune the shared model across four hospitals and write a report
	$(bin)/tacit-simulate

test: install ## Run the tests
	$(bin)/python -m pytest -n auto --dist worksteal

slow: install ## Run the proofs that take minutes each, which test leaves out
	$(bin)/python -m pytest -n auto --dist worksteal -m slow

check: install ## Lint, formatting, types, and which folder may import which
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

bench: install ## About an hour: what steps, rounds and simulated cohorts cost, beside others
	$(bin)/python -m benchmarks.private_step
	$(bin)/python -m benchmarks.deployed_round
	$(bin)/python -m benchmarks.large_update
	$(bin)/python -m benchmarks.cohort
	$(bin)/python -m benchmarks.many_sites
	$(bin)/python -m benchmarks.lora_cohort
	$(bin)/python -m benchmarks.secagg

soak: install ## An hour or two: decoders fed at random, memory over 300 rounds, 200 faults
	$(bin)/python -m benchmarks.soak_decoders
	$(bin)/python -m benchmarks.soak_memory
	$(bin)/python -m benchmarks.soak_faults

picture: install ## Draw docs/report.png, the head of the demo's report; CHROMIUM=... names the browser
	rm -rf build/picture
	mkdir -p docs
	$(bin)/tacit-simulate run.dir=build/picture
	$(CHROMIUM) --headless --hide-scrollbars --window-size=1040,1515 \
	  --screenshot=docs/report.png "file://$(CURDIR)/build/picture/report.html"

clean: ## Remove .venv, builds and caches; runs in outputs/ stay
	rm -rf .venv build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip resolves everything in one call: the range of torch in pyproject.toml then holds throughout.
$(installed): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Tacit needs \
	Python 3.11 or newer and this is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: minutes on first use"
	$(bin)/python -m pip install --editable ".[$(extras)]"
	@touch $@
