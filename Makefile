# Each target sets itself up from a clean clone and prints its result last.
# PYTHON=python3.13 makes .venv with that interpreter.
SHELL := /bin/sh
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup run test check demo bench chaos crash-matrix simulate selftest requirements clean

help:
	@echo "make run           the service, with its sandbox chain, in the foreground"
	@echo "make demo          a batch of signals traded before your eyes"
	@echo "make selftest      orders through every configured method on a private sandbox"
	@echo "make bench         rates and times, measured"
	@echo "make chaos         trouble of every kind for MINUTES=20, SEED=1, DATABASE=both|sqlite|postgres"
	@echo "make crash-matrix  killed at every point there is, on both databases: SEED=7, WORKERS=2"
	@echo "make simulate      simulated lives of orders: LIVES=50000 SEED=0, or REPLAY=CASE as it was printed"
	@echo "make check         format, lint, types, layers, house laws"
	@echo "make test          make check, every test, coverage"
	@echo "make setup         .venv, and nothing else"
	@echo "make requirements  compile requirements/ anew (make requirements UPGRADE=1: newest)"
	@echo "make clean         away with what runs and tools leave behind, databases excepted"

setup:
	@tools/setup.sh runtime
	@echo "SETUP DONE: $$(.venv/bin/python --version) in .venv"

run:
	@tools/setup.sh runtime && exec .venv/bin/synergy7 serve

demo:
	@tools/setup.sh runtime && exec .venv/bin/synergy7 demo

selftest:
	@tools/setup.sh runtime && exec .venv/bin/synergy7 selftest

bench:
	@tools/setup.sh dev && exec .venv/bin/python -m benchmarks

chaos:
	@tools/setup.sh dev && exec .venv/bin/python -m tests.chaos --seed $(or $(SEED),1) \
	    --minutes $(or $(MINUTES),20) --database $(or $(DATABASE),both)

crash-matrix:
	@tools/setup.sh dev && exec .venv/bin/python -m tests.crash --seed $(or $(SEED),7) \
	    --workers $(or $(WORKERS),2)

simulate:
	@tools/setup.sh dev && exec .venv/bin/python -m tests.engine.simulate \
	    $(if $(REPLAY),--replay "$(REPLAY)",--lives $(or $(LIVES),50000) --seed $(or $(SEED),0))

check:
	@tools/setup.sh dev && exec tools/check.sh

test:
	@tools/setup.sh dev && tools/check.sh && tools/test.sh
	@echo "ALL CHECKS AND TESTS PASSED"

requirements:
	@tools/setup.sh dev && tools/requirements.sh $(if $(UPGRADE),--upgrade)
	@echo "REQUIREMENTS COMPILED"

clean:
	@rm -rf .venv .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache \
	    .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "CLEAN: output/ and logs/ are left as they are"
