#!/bin/sh
# Replace the database by a backup. The backup is restored into a second database and its audit trail verified before
# the two are exchanged, so a damaged backup changes nothing. usage: docker/restore.sh --yes FILE
set -eu
umask 077
[ $# -eq 2 ] && [ "$1" = --yes ] || { sed -n '2,3p' "$0" >&2; exit 2; }
file=$(realpath "$2")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
beside=
clean() {
    rm -rf "$work"
    [ -z "$beside" ] || echo 'DROP DATABASE IF EXISTS rosette_restored WITH (FORCE)' | sql || true
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

tar -C "$work" -xf "$file" SHA256SUMS audit-head database.dump
(cd "$work" && sha256sum --check --quiet SHA256SUMS)
head=$(cat "$work/audit-head")

sql() { docker compose exec -T db psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres; }

docker compose up --detach --wait db
beside=yes
sql <<'SQL'
DROP DATABASE IF EXISTS rosette_restored WITH (FORCE);
CREATE DATABASE rosette_restored OWNER rosette;
REVOKE ALL ON DATABASE rosette_restored FROM PUBLIC;
SQL
docker compose exec -T db pg_restore --username postgres --dbname rosette_restored --role rosette --no-owner \
    --no-privileges --single-transaction --exit-on-error < "$work/database.dump"
docker compose run --rm --no-deps --no-TTY --env ROSETTE_DATABASE_URL=postgresql://rosette@db/rosette_restored \
    app rosette audit verify --head "$head"

docker compose stop proxy app
sql <<'SQL'
DROP DATABASE IF EXISTS rosette_replaced WITH (FORCE);
BEGIN;
ALTER DATABASE rosette RENAME TO rosette_replaced;
ALTER DATABASE rosette_restored RENAME TO rosette;
COMMIT;
SQL
docker compose up --detach --wait
docker compose exec -T app rosette audit verify --head "$head"
echo 'DROP DATABASE rosette_replaced WITH (FORCE)' | sql
echo "restored $file"
