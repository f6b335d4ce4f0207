# Caddy with Rosette's configuration, as an ordinary user without capabilities. Build from the repository's root:
#   docker build -f docker/proxy.Dockerfile -t rosette-proxy .
ARG CADDY_IMAGE=caddy:2
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# The binary of the public image has a file capability and does not start without it; a copy has none.
FROM ${CADDY_IMAGE} AS root
RUN cp /usr/bin/caddy /usr/bin/caddy.plain && mv /usr/bin/caddy.plain /usr/bin/caddy \
 && rm -rf /var/cache/* /var/lib/apt/lists/* /var/log/* /config /data \
 && mkdir -m 700 /config /data && chown 10002:10002 /config /data \
 && mkdir /bill && caddy build-info > /bill/go \
 && for found in /var/lib/dpkg/status /lib/apk/db/installed; do [ ! -e "$found" ] || cp "$found" /bill/; done
COPY docker/Caddyfile /etc/caddy/Caddyfile
RUN export ROSETTE_HOSTNAME=localhost XDG_DATA_HOME=/tmp/check XDG_CONFIG_HOME=/tmp/check \
 && caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile && rm -rf /tmp/check

FROM ${PYTHON_IMAGE} AS bill
COPY docker/sbom.py /
COPY --from=root /bill /bill
RUN python3 /sbom.py --go /bill/go --dpkg /bill/status --apk /bill/installed > /sbom.cdx.json

FROM scratch
COPY --from=root / /
COPY --from=bill /sbom.cdx.json /etc/caddy/sbom.cdx.json
ENV PATH=/usr/local/bin:/usr/bin:/bin XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
LABEL org.opencontainers.image.title=rosette-proxy rosette.sbom=/etc/caddy/sbom.cdx.json
USER 10002:10002
EXPOSE 8080 8443
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD \
    wget -q -O /dev/null http://127.0.0.1:8081/ 2>/dev/null || bash -c '</dev/tcp/127.0.0.1/8443'
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
