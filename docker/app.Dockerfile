# The server alone: no torch, no compiler. Build from the repository's root:
#   docker build -f docker/app.Dockerfile -t rosette .
# Run, with the data on a volume:
#   docker run -p 127.0.0.1:8000:8000 -v rosette:/var/lib/rosette rosette
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY alembic alembic
COPY app app
COPY model_zoo model_zoo
COPY training training
RUN python -m venv /opt/rosette && /opt/rosette/bin/pip install --no-cache-dir --no-compile .

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --create-home --home-dir /var/lib/rosette rosette
COPY --from=build /opt/rosette /opt/rosette
USER 10001
ENV PATH=/opt/rosette/bin:$PATH ROSETTE_HOME=/var/lib/rosette ROSETTE_HOST=0.0.0.0
VOLUME /var/lib/rosette
EXPOSE 8000
HEALTHCHECK --interval=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]
CMD ["rosette", "serve"]
