# The service with its sandbox chain. Both stages use one folder, so that what the first installs
# into the virtual environment is found by the second.

FROM python:3.11.13-slim-bookworm AS build
WORKDIR /app
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes \
        -r requirements/build.txt -r requirements/runtime.txt
COPY pyproject.toml LICENSE alembic.ini config.yaml ./
COPY alembic alembic
COPY app app
RUN .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
        --editable . \
    && .venv/bin/python -m compileall -q app

FROM python:3.11.13-slim-bookworm
WORKDIR /app
RUN useradd --system --uid 10001 --home-dir /app/output synergy7
COPY --from=build /app /app
# All that is ever written; the rest may be mounted read-only.
RUN mkdir -p output logs && chown synergy7 output logs
VOLUME ["/app/output", "/app/logs"]
ENV PATH=/app/.venv/bin:$PATH \
    HOME=/app/output \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SYNERGY7_SERVER__HOST=127.0.0.1 \
    SYNERGY7_SERVER__PORT=8000
USER synergy7
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SYNERGY7_SERVER__PORT'] + '/healthz', timeout=4)"]
CMD ["synergy7", "serve"]
