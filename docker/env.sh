#!/bin/sh
# Write .env and docker/secrets if they are missing; existing files are not changed.
# usage: docker/env.sh [NAME]     NAME is the host name or address that clients use; it is the name in the certificate
set -eu
umask 077
cd "$(dirname "$0")/.."
secrets=$PWD/docker/secrets
env=$PWD/.env

mkdir -p "$secrets/tls"
chmod 755 "$secrets/tls"
for name in admin_key database_password postgres_password grafana_password; do
    [ -s "$secrets/$name" ] || {
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$secrets/$name.new"
        mv "$secrets/$name.new" "$secrets/$name"
        echo "wrote $secrets/$name"
    }
    chmod 444 "$secrets/$name" # the containers' users read it; on this machine the folder is closed
done
if command -v selinuxenabled >/dev/null && selinuxenabled; then
    chcon -R -t container_file_t "$secrets" # compose has no :z for secrets
fi

if [ -e "$env" ]; then
    [ -z "${1:-}" ] || echo "$env exists and was not changed: set ROSETTE_HOSTNAME there" >&2
    exit 0
fi
cat > "$env.new" <<END
# Read by docker compose. docs/install.md describes each variable.
ROSETTE_HOSTNAME=${1:-localhost}
ROSETTE_ADDRESS=127.0.0.1
ROSETTE_HTTPS_PORT=443
ROSETTE_HTTP_PORT=80
ROSETTE_APP_CPUS=$(nproc)
END
mv "$env.new" "$env"
echo "wrote $env"
