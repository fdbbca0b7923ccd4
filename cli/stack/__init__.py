"""The parts of one machine: real PostgreSQL, Redis, MLflow, the API and a worker, as child processes of `up`."""
