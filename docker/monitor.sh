#!/bin/sh
# Start Prometheus and Grafana beside the stack that runs; on first use, make the key with which Prometheus reads figures.
# usage: docker/monitor.sh [prometheus]     with a name, that one alone
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
