# Everything is stored in .venv and .knowledge_migration; `make clean` removes both.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin
# without its cache, each of the many processes of the tests compiles the package again
unexport PYTHONDONTWRITEBYTECODE
PORT ?= 8000

.PHONY: install migrate demo ui test test-ui test-cases lint bench bench-scale chaos model docs screenshots clean lock

install: .venv/.installed  ## the commands, in .venv/bin

migrate: .venv/.installed  ## migrate the demonstration, or the database of KNOWLEDGE_MIGRATION_DATABASE_URL
	$(RUN)/knowledge-migration migrate

demo: migrate  ## the same, then keep the service running to review proposals (port: make demo PORT=8001)
	$(RUN)/knowledge-migration serve --port $(PORT)

ui: .venv/.installed  ## open the project in Dagster's UI, on a free loopback port
	$(RUN)/knowledge-migration ui

test: .venv/.installed  ## the tests, on PostgreSQL servers that they start; in minutes
	$(RUN)/pytest

test-ui: .venv/.installed  ## the longer tests: the pages and Dagster's UI from zero to full cutover (requires Chromium); several machines (requires redis-server); the containers' processes; the built wheel; rounds of chaos; whole rehearsals; the example to full cutover
	$(RUN)/pytest -m 'browser and not long'
	$(RUN)/pytest -n 0 -m long

test-cases: .venv/.installed  ## the cases from public bug reports, if their folder is beside the project (CASES="c19 c58"; requires root)
	$(RUN)/python -m knowledge_migration_tests.cases $(CASES)

lint: .venv/.installed  ## style, types, and the schema statements
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy knowledge_migration knowledge_migration_tests/benchmarks knowledge_migration_tests/chaos
	$(RUN)/pytest -q -n 0 -k squawk knowledge_migration_tests/engine/schema/test_schema.py

bench: .venv/.installed  ## backfill, capture, extraction modes, duplicate search, rollbacks, lists of a million proposals, verification, review page
	$(RUN)/python -m knowledge_migration_tests.benchmarks.backfill
	$(RUN)/python -m knowledge_migration_tests.benchmarks.capture
	$(RUN)/python -m knowledge_migration_tests.benchmarks.service
	$(RUN)/python -m knowledge_migration_tests.benchmarks.duplicates
	$(RUN)/python -m knowledge_migration_tests.benchmarks.rollback
	$(RUN)/python -m knowledge_migration_tests.benchmarks.performance
	$(RUN)/python -m knowledge_migration_tests.benchmarks.verification
	$(RUN)/python -m knowledge_migration_tests.benchmarks.review_page

bench-scale: .venv/.installed  ## every phase, check, page, command and rollback with 0.1, 1 and 10 million atoms: hours, 40 GB (ATOMS="100000 1000000")
	$(RUN)/python -m knowledge_migration_tests.benchmarks.scale $(if $(ATOMS),--atoms $(ATOMS))

chaos: .venv/.installed  ## random rounds of users, operators and faults, judged independently (ROUNDS=20, SEED=… repeats, CAPTURE=1)
	$(RUN)/python -m knowledge_migration_tests.chaos --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED)) $(if $(CAPTURE),--capture)

model:  ## checks the model of the protocol, or that a fault violates it (FAULT=SKIP_INVISIBLE; requires spin and gcc)
	model/check $(FAULT)

docs: .venv/.installed  ## the documentation as a site, .knowledge_migration/site/index.html; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet

screenshots: .venv/.installed  ## the screenshots of the README, from the result of `make migrate` (requires Chromium)
	$(RUN)/python -m knowledge_migration_tests.screenshots
	TESTS_PICTURES=$(CURDIR)/docs $(RUN)/pytest -n 0 -m long knowledge_migration_tests/defs/test_webserver.py

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is required and none is on PATH; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock:  ## update requirements.lock (requires uv); download addresses are not written
	uv pip compile pyproject.toml --extra dev --extra llm --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra celery --extra kubernetes --extra otel --extra s3 --constraints requirements.lock --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --quiet -o deploy/requirements.lock

clean:  ## stop the embedded server and remove everything that was created here
	@if [ -x $(RUN)/knowledge-migration ]; then $(RUN)/knowledge-migration stop; fi
	rm -rf .venv .knowledge_migration
