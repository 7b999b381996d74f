# `make` lists the verbs. Everything happens in .venv inside this checkout.

# The first of these that is there makes .venv; override with `make PYTHON=/path/to/python3.12 run`.
PYTHON ?= $(shell for name in python3.11 python3 python3.13 python3.12; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test quick check bench bench-long bench-wan bench-wan-zookeeper bench-sites example example-sites docs setup setup-run lock conformance example-v2 sim sim-night

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## set everything up and start one site on the embedded engine, data in ./polysite-data
	@exec $(BIN)/polysite serve --data ./polysite-data

test: setup ## every test that this machine can run
	@$(BIN)/python -m pytest

quick: setup ## the tests that are done in under two minutes together, without server processes
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow and not engine" tests/unit tests/contract tests/simulation tests/docs

conformance: setup ## 746 exchanges recorded with MUSIC 3.2.40, sent again
	@$(BIN)/python -m pytest tests/conformance

check: setup ## format, lint, types, import rules, generated files, docs
	@$(BIN)/python scripts/check.py

docs: setup ## check links, words and examples of the docs
	@$(BIN)/python scripts/check.py docs
	@$(BIN)/python -m pytest tests/docs

sim: setup ## 2,000 schedules of faults in the simulated world, judged; a few minutes
	@$(BIN)/polysite sim run --seeds 1..2000 --lasts 10

sim-night: setup ## ten times as many of other seeds; an hour
	@$(BIN)/polysite sim run --seeds 100001..120000

bench: setup ## the speed ratios; fails when one is missed
	@$(BIN)/python -m benchmarks

bench-long: setup ## the same and the long ones (a million lock cycles)
	@$(BIN)/python -m benchmarks --long

bench-wan: setup ## three sites 50 and 100 ms apart: round trips of every operation; needs root, /dev/net/tun and Java
	@$(BIN)/python -m benchmarks.wan

bench-wan-zookeeper: setup ## the same with lock cells in ZooKeeper
	@$(BIN)/python -m benchmarks.wan --cells zookeeper

bench-sites: setup ## three sites: 10,000 lock cycles that stay as fast as they were, 64 clients a site, both drivers; needs the same
	@$(BIN)/python -m benchmarks.sites

example: setup ## count real ballots from three processes while two of them are killed
	@$(BIN)/python -m examples.votes

example-v2: setup ## the same by clients that know only REST v2 of MUSIC
	@$(BIN)/python -m examples.votes --interface v2

example-sites: setup ## the same at three sites on Cassandra, one of which dies, one is cut off (Linux, root, Java, Maven)
	@$(BIN)/python -m examples.votes.sites

lock: ## write requirements/*.lock anew
	@$(or $(PYTHON),$(error no Python 3.11 or later found; install one or say make PYTHON=...)) scripts/setup_env.py lock

setup: ## only set up .venv with what tests and checks need
	@$(or $(PYTHON),$(error no Python 3.11 or later found; install one or say make PYTHON=...)) scripts/setup_env.py dev

setup-run:
	@$(or $(PYTHON),$(error no Python 3.11 or later found; install one or say make PYTHON=...)) scripts/setup_env.py run
