"""Variables of the environment that set libraries of ours for somebody else's programs, whatever we tell them.

Standard library only: the command loads it.
"""

from __future__ import annotations

import os
import re

CELERY = re.compile(r"CELERY_.*|BROKER_URL|RESULT_BACKEND|LOADER|CONFIG_MODULE|SKIP_CHECKS")
"""Celery's and its command's: it asks the broker that they name, not the one of our settings."""
POSTGRES = re.compile(r"PG.*")
"""Of PostgreSQL's programs and client: meant for another server than the one that we start."""


def forget(names: re.Pattern[str]) -> None:
    """Take what goes by these names out of the environment of this process, and of those that it starts."""
    for name in [name for name in os.environ if names.fullmatch(name)]:
        del os.environ[name]
