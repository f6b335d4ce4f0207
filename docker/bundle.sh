#!/bin/sh
# Write one file with the images, the compose files and the scripts, for a machine without a network.
# usage: docker/bundle.sh [FILE]     default: rosette.tar; build the images before (make images)
# ROSETTE_GZIP is the compression level of gzip, 1 (fast) to 9 (small).
set -eu
cd "$(dirname "$0")/.."
file=${1:-rosette.tar}
work=$(mktemp -d "$(dirname "$file")/.bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

export ROSETTE_HOSTNAME="${ROSETTE_HOSTNAME:-localhost}" # any name does to read the compose file
# COMPOSE_PROFILES=monitoring includes the images of Prometheus and Grafana.
images=$(docker compose config --images | sort -u)
into=$work/rosette
mkdir -p "$into/docker" "$into/sbom"
for image in $images; do
    docker image inspect "$image" > /dev/null 2>&1 || docker pull --quiet "$image"
    bill=$(docker image inspect --format '{{index .Config.Labels "rosette.sbom"}}' "$image")
    [ -z "$bill" ] || docker run --rm --network none --entrypoint cat "$image" "$bill" > "$into/sbom/${image%%:*}.cdx.json"
done
# shellcheck disable=SC2086 # one word for each image
docker save $images | gzip "-${ROSETTE_GZIP:-6}" > "$into/images.tar.gz"
cp compose.yaml LICENSE "$into/"
cp -R docker/compose.yaml docker/sign-in.yaml docker/database docker/env.sh docker/backup.sh docker/restore.sh docker/monitor.sh \
    docker/monitoring "$into/docker/"
cp -R docs "$into/"
(cd "$into" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS)
tar -C "$work" -cf "$work/bundle.tar" rosette
mv "$work/bundle.tar" "$file"
echo "wrote $file with" $images
