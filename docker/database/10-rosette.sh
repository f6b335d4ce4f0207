#!/bin/sh
# Run by PostgreSQL's image when it creates a database: Rosette's role owns its database and is not a superuser.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set password `cat /run/secrets/database_password`
CREATE ROLE rosette LOGIN PASSWORD :'password';
CREATE DATABASE rosette OWNER rosette;
REVOKE ALL ON DATABASE rosette FROM PUBLIC;
SQL
