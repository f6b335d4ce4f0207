# The server: no torch, no compiler, no package manager's cache. Build from the repository's root:
#   docker build -f docker/app.Dockerfile -t rosette-app .
# docs/install.md runs it with a database and TLS. Alone, on SQLite, with the data on a volume:
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v rosette:/var/lib/rosette rosette-app
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# For the _kernels.c of model_zoo and slides. Debian's own Python has its headers in a package of their own.
RUN headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))') && apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev $([ -e "$headers/Python.h" ] || echo python3-dev) \
 && rm -rf /var/lib/apt/lists/*
COPY docker/build-requirements.txt docker/requirements.txt docker/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r docker/build-requirements.txt \
 && python -m venv --without-pip /opt/rosette \
 && /opt/build/bin/pip --python /opt/rosette install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
    -r docker/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts/hatch_build.py scripts/
COPY alembic alembic
COPY app app
COPY model_zoo model_zoo
COPY slides slides
COPY training training
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && ls /dist/*-linux_*.whl \
 && /opt/build/bin/pip --python /opt/rosette install --no-cache-dir --no-compile --no-index --no-deps /dist/*.whl
RUN cd /opt/rosette/lib/python3*/site-packages \
 && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && rm -rf numpy/distutils numpy/f2py onnxruntime/tools onnxruntime/transformers onnxruntime/datasets \
 && /opt/rosette/bin/python -m compileall -q --invalidation-mode unchecked-hash . \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --pyproject /src/pyproject.toml \
    --output-file /opt/rosette/python.cdx.json /opt/rosette/bin/python

# The base image's files without packages that only install or build, so that no layer of the final image has them.
FROM ${PYTHON_IMAGE} AS root
COPY docker/prune.sh docker/sbom.py /tmp/
RUN sh /tmp/prune.sh && useradd --uid 10001 --no-create-home --home-dir /var/lib/rosette rosette \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/rosette /var/lib/rosette/journal
COPY --from=build /opt/rosette /opt/rosette
COPY docker/requirements.txt /opt/rosette/
RUN python /tmp/sbom.py --python /opt/rosette/python.cdx.json --dpkg /var/lib/dpkg/status > /opt/rosette/sbom.cdx.json \
 && rm -rf /opt/rosette/python.cdx.json /tmp/* /root/.cache

FROM scratch
COPY --from=root / /
ENV PATH=/opt/rosette/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ROSETTE_HOME=/var/lib/rosette ROSETTE_HOST=0.0.0.0
LABEL org.opencontainers.image.title=rosette-app org.opencontainers.image.licenses=Apache-2.0 \
      rosette.sbom=/opt/rosette/sbom.cdx.json
USER 10001:10001
WORKDIR /var/lib/rosette
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD \
    ["python", "-ISc", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["rosette", "serve"]
