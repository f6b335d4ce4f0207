#!/bin/sh
# Start Prometheus and Grafana in the running stack; on first use, create a key of role metrics for Prometheus.
# usage: docker/monitor.sh [prometheus]     with a name, only that service
set -eu
umask 077
cd "$(dirname "$0")/.."
key=docker/secrets/metrics_key
if [ ! -s "$key" ]; then
    docker compose exec -T app rosette keys add --role metrics --name prometheus > "$key.new"
    chmod 444 "$key.new"
    mv "$key.new" "$key"
    echo "wrote $key"
fi
[ $# -gt 0 ] || set -- prometheus grafana
docker compose --profile monitoring up --detach --wait --no-deps "$@"
