#!/bin/sh
# Run by PostgreSQL's image when it makes a database: Rosette's role owns its own database, and is no superuser.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set password `cat /run/secrets/database_password`
CREATE ROLE rosette LOGIN PASSWORD :'password';
CREATE DATABASE rosette OWNER rosette;
REVOKE ALL ON DATABASE rosette FROM PUBLIC;
SQL
