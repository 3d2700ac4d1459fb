#!/usr/bin/env bash
# Runs once, on the empty server: the application's database with its owner, and a database for Dagster's tables.
set -euo pipefail

psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres << 'SQL'
\set tasktracker `cat /run/secrets/tasktracker_password`
\set dagster `cat /run/secrets/dagster_password`
CREATE ROLE tasktracker LOGIN PASSWORD :'tasktracker';
GRANT pg_read_all_stats TO tasktracker;
CREATE DATABASE tasktracker OWNER tasktracker;
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE dagster OWNER dagster;
\connect tasktracker
CREATE EXTENSION vector;
GRANT EXECUTE ON FUNCTION pg_control_system() TO tasktracker;
SQL
