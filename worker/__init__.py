"""Runs stages: ``host`` is the Celery process, which claims and supervises, ``rank`` the process that computes a stage.

They share ``contract`` alone, and speak through files, a socket and exit codes. ``stages`` has a module for each kind,
which stands on ``training``, ``video`` and ``models/``. Open ``host/tasks.py`` first.
"""
