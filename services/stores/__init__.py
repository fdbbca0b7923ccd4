"""What is not in Postgres: files on disk, the artifact store, the broker."""
