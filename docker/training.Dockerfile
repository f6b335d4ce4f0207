# The image for training, quantizing and publishing models; for a GPU with the NVIDIA container toolkit, or a CPU.
#   docker build -f docker/training.Dockerfile -t rosette-training .
#   docker run --rm --gpus all --shm-size 2g -v "$PWD/runs:/runs" -v /path/to/pcam:/data:ro rosette-training \
#       rosette train /runs/first --data /data
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# For model_zoo/_kernels.c. Debian's own Python has its headers in a package of their own.
RUN headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))') && apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev $([ -e "$headers/Python.h" ] || echo python3-dev) \
 && rm -rf /var/lib/apt/lists/*
COPY docker/build-requirements.txt docker/training-requirements.txt docker/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r docker/build-requirements.txt \
 && python -m venv --without-pip /opt/rosette \
 && /opt/build/bin/pip --python /opt/rosette install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
    -r docker/training-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts/hatch_build.py scripts/
COPY alembic alembic
COPY app app
COPY model_zoo model_zoo
COPY slides slides
COPY training training
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && ls /dist/*-linux_*.whl \
 && /opt/build/bin/pip --python /opt/rosette install --no-cache-dir --no-compile --no-index --no-deps /dist/*.whl \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --pyproject /src/pyproject.toml \
    --output-file /opt/rosette/python.cdx.json /opt/rosette/bin/python

FROM ${PYTHON_IMAGE}
# The compiler builds the kernels of training for the CPU.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10001 --create-home rosette && install -d -o 10001 -g 10001 /runs
COPY --from=build /opt/rosette /opt/rosette
COPY docker/sbom.py /tmp/
RUN python /tmp/sbom.py --python /opt/rosette/python.cdx.json --dpkg /var/lib/dpkg/status > /opt/rosette/sbom.cdx.json \
 && rm /opt/rosette/python.cdx.json /tmp/sbom.py
ENV PATH=/opt/rosette/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title=rosette-training org.opencontainers.image.licenses=Apache-2.0 \
      rosette.sbom=/opt/rosette/sbom.cdx.json
USER 10001:10001
WORKDIR /runs
CMD ["rosette", "--help"]
