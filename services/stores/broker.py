"""The doorbell: Celery over Redis. A message says "there is work for this queue" and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from services import foreign
from services.errors import Unavailable

QUEUES = ("cpu", "gpu")
TASK = "worker.tasks.work"
VISIBILITY_SECONDS = 3600
"""After this a message that a worker took and never acknowledged rings again, which does no harm."""

SEND_SECONDS = 2.0
"""How long Redis may take to accept a message; whoever rings has a stage or a request to go on with."""

log = logging.getLogger(__name__)


def celery_app(redis_url: str) -> Celery:
    """Return the one configuration that the API and every worker share.

    Messages are acknowledged when they arrive: a stage belongs to its Postgres lease, never to its message.
    """
    foreign.forget(foreign.CELERY)
    timeouts = {"visibility_timeout": VISIBILITY_SECONDS}
    transport = {
        **timeouts,
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": True,
    }
    app = Celery("twostream", broker=redis_url)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport,
        enable_utc=True,
        result_backend_transport_options=timeouts,
        task_acks_late=False,
        task_create_missing_queues=True,
        task_default_queue="cpu",
        task_ignore_result=True,
        task_serializer="json",
        task_store_errors_even_if_ignored=False,
        visibility_timeout=VISIBILITY_SECONDS,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=4,  # bells are worth nothing; a worker that waits for no more looks up late
        worker_send_task_events=False,
    )
    return app


class Broker:
    """Rings the bell, and counts the rings that nobody has answered."""

    def __init__(self, redis_url: str) -> None:
        self.address = redis_url.rsplit("@", 1)[-1]
        self.app = celery_app(redis_url)
        self.app.conf.broker_transport_options |= {
            "socket_connect_timeout": SEND_SECONDS,
            "socket_timeout": SEND_SECONDS,
            "retry_on_timeout": False,
        }
        self._redis = redis.Redis.from_url(
            redis_url.replace("redis+socket", "unix"), socket_connect_timeout=2, socket_timeout=5
        )

    def ring(self, queues: Iterable[str] | Mapping[str, int]) -> bool:
        """Send one message to each queue, or as many as a mapping says.

        Returns:
            False when Redis is away: nothing is lost, housekeeping rings again.
        """
        times = queues if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
        try:
            for queue, count in times.items():
                for _ in range(count):
                    self.app.send_task(TASK, args=(queue,), queue=queue, retry=False, ignore_result=True)
        except (OperationalError, redis.RedisError) as error:
            log.warning(
                "the broker is away; housekeeping will ring", extra={"redis": self.address, "error": str(error)}
            )
            return False
        return True

    def pending(self, queue: str) -> int:
        """Return how many messages of a queue no worker has taken; raises ``Unavailable``."""
        try:
            return int(self._redis.llen(queue))
        except redis.RedisError as error:
            raise Unavailable(f"Redis at {self.address}: {error}") from error

    def ping(self) -> None:
        """Ask the server for an answer, or raise ``Unavailable``."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise Unavailable(f"Redis at {self.address}: {error}") from error

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        self.app.close()
