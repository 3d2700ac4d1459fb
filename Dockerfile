# The image of every process: the service, Dagster's webserver, daemon and code location, and the example application.
# PostgreSQL's client tools are Debian's (version 17, with TLS). For a newer server, add those of its version.
FROM python:3.13.9-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/venv
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY deploy/requirements.lock ./
RUN /opt/venv/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE dagster.yaml workspace.yaml ./
COPY sql/ sql/
COPY knowledge_migration/ knowledge_migration/
# the backend of the build is pinned by the lock file of the developers
COPY requirements.lock developers.lock
RUN python3 -m venv /opt/backend \
    && grep -E -A 2 '^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==' developers.lock | grep -E '^[a-z]|--hash' > backend.lock \
    && /opt/backend/bin/pip install --no-deps --require-hashes -r backend.lock \
    && /opt/backend/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/dist . \
    && /opt/venv/bin/pip install --no-deps /build/dist/knowledge_migration-*.whl

FROM python:3.13.9-slim-trixie

# hadolint ignore=DL3008  # Debian's stable release brings security fixes only, and the image's version pins the release
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/knowledge_migration --shell /usr/sbin/nologin migration
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY dagster.yaml workspace.yaml ./
COPY examples/ examples/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/app \
    GX_ANALYTICS_ENABLED=false \
    KNOWLEDGE_MIGRATION_HOME=/var/lib/knowledge_migration
USER 10001:10001
VOLUME /var/lib/knowledge_migration
CMD ["knowledge-migration", "--help"]
