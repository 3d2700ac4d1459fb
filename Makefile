# Everything happens in .venv and .knowledge_migration; `make clean` removes both.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin
PORT ?= 8000

.PHONY: migrate demo ui test lint bench screenshots clean lock

migrate: .venv/.installed  ## migrate the demonstration, or the database of KNOWLEDGE_MIGRATION_DATABASE_URL
	$(RUN)/knowledge-migration migrate

demo: migrate  ## the same, and then the service goes on: review what the traffic proposed (port: make demo PORT=8001)
	$(RUN)/knowledge-migration serve --port $(PORT)

ui: .venv/.installed  ## the same project in Dagster's UI, on a free loopback port
	$(RUN)/knowledge-migration ui

test: .venv/.installed  ## all tests, on PostgreSQL servers that they start themselves; those of the pages where a Chromium is
	$(RUN)/pytest

lint: .venv/.installed  ## style, types, and the schema statements
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy knowledge_migration
	$(RUN)/pytest -q -n 0 -k squawk knowledge_migration_tests/engine/schema/test_schema.py

bench: .venv/.installed  ## backfill, modes of extraction, search for duplicates, ways back, lists of a million proposals, the review page
	$(RUN)/python -m knowledge_migration_tests.benchmarks.backfill
	$(RUN)/python -m knowledge_migration_tests.benchmarks.service
	$(RUN)/python -m knowledge_migration_tests.benchmarks.duplicates
	$(RUN)/python -m knowledge_migration_tests.benchmarks.rollback
	$(RUN)/python -m knowledge_migration_tests.benchmarks.performance
	$(RUN)/python -m knowledge_migration_tests.benchmarks.review_page

screenshots: .venv/.installed  ## the pictures of the README, from what `make migrate` has left (needs Chromium)
	$(RUN)/python -m knowledge_migration_tests.screenshots

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found on PATH; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock:  ## pins the whole set again (needs uv); no download address is written
	uv pip compile pyproject.toml --extra dev --extra llm --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --quiet -o requirements.lock

clean:  ## stops the embedded server and removes everything that was made here
	@if [ -x $(RUN)/knowledge-migration ]; then $(RUN)/knowledge-migration stop; fi
	rm -rf .venv .knowledge_migration
