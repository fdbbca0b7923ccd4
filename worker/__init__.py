"""Runs stages: a Celery process that claims and supervises, and rank processes that compute."""
