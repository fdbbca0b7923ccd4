# syntax=docker/dockerfile:1
# Three images: `api` (services, api, cli; no torch), `worker` (adds models and worker, with CUDA torch) and `mlflow`.
# uv takes requirements.lock as constraints: it installs the versions named there and refuses a file whose hash differs.
# Nothing comes from the distribution's package manager: every wheel brings the libraries that the slim base lacks.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
ENV PATH=/opt/uv/bin:$PATH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    VIRTUAL_ENV=/opt/venv
COPY requirements.lock ./
RUN awk '/^[^ ]/ { found = /^uv==/ } found' requirements.lock > uv.txt \
    && python -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --no-cache-dir --require-hashes --requirement uv.txt \
    && python -m venv --without-pip /opt/venv
COPY pyproject.toml ./

FROM build AS build-api
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --constraints requirements.lock --requirements pyproject.toml --extra s3
COPY README.md LICENSE ./
COPY services services/
COPY api api/
COPY cli cli/
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --no-deps --build-constraints requirements.lock .

FROM build AS build-worker
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --constraints requirements.lock --requirements pyproject.toml --extra s3 --extra worker --extra pretrained
COPY README.md LICENSE ./
COPY services services/
COPY api api/
COPY cli cli/
COPY models models/
COPY worker worker/
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --no-deps --build-constraints requirements.lock .

FROM build AS build-mlflow
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --constraints requirements.lock mlflow "psycopg[binary]"

# What all three share at run time: an ordinary user, whose home is where a volume goes.
FROM python:3.11-slim-bookworm AS runtime
RUN useradd --uid 10001 --create-home --home-dir /var/lib/twostream twostream
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NO_PROXY=localhost,127.0.0.1,::1,api,mlflow \
    no_proxy=localhost,127.0.0.1,::1,api,mlflow \
    TWOSTREAM_HOME=/var/lib/twostream
WORKDIR /var/lib/twostream
USER 10001
STOPSIGNAL SIGTERM

FROM runtime AS api
COPY --from=build-api /opt/venv /opt/venv
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/ready', timeout=4)"]
CMD ["python", "-m", "cli.stack.serve", "api.app:create_app", "0.0.0.0:8080"]

# A worker listens on no port; whether it reports for work is for docker-compose.yml to ask, which knows the API's address.
FROM runtime AS worker
COPY --from=build-worker /opt/venv /opt/venv
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["twostream", "worker"]

FROM runtime AS mlflow
COPY --from=build-mlflow /opt/venv /opt/venv
ENV MLFLOW_ARTIFACTS_DESTINATION=/var/lib/twostream/artifacts \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--serve-artifacts"]
