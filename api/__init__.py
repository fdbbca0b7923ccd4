"""The HTTP door: parse, call one service, shape the answer; no SQL, no Celery, no MLflow, no torch."""
