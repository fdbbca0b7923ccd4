"""The door to Postgres: tables, sessions and migrations."""
