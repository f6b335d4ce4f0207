#!/bin/sh
# Write the whole database (keys, models, predictions, reviews, audit trail) to one file while the stack runs.
# usage: docker/backup.sh [FILE]     default: backups/rosette-TIME.tar
set -eu
umask 077
cd "$(dirname "$0")/.."
file=${1:-backups/rosette-$(date -u +%Y%m%dT%H%M%SZ).tar}
[ ! -e "$file" ] || { echo "$file exists: choose another file" >&2; exit 1; }
mkdir -p "$(dirname "$file")"
work=$(mktemp -d "$(dirname "$file")/.backup.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Read the head first: the dump begins later and contains its row.
docker compose exec -T app rosette audit head > "$work/audit-head"
docker compose exec -T db pg_dump --username postgres --format custom --dbname rosette > "$work/database.dump"
docker compose exec -T db pg_restore --list < "$work/database.dump" > /dev/null
(cd "$work" && sha256sum audit-head database.dump > SHA256SUMS)
tar -C "$work" -cf "$work/backup.tar" SHA256SUMS audit-head database.dump
sync "$work/backup.tar"
mv "$work/backup.tar" "$file"
echo "wrote $file; the audit trail's head is $(cat "$work/audit-head")"
