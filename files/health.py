"""Whether the site lives, and whether it can work: what a load balancer asks."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from files.circuit import Bulkhead, UnavailableError
from files.models import File
from files.storage import S3Error

LIMIT = 2  # seconds that a check may take
FRESH = 2  # seconds that its result counts

LIVES, READY = "/healthz", "/readyz"

logger = logging.getLogger(__name__)

_waiting = Bulkhead("a check", share=0.125, patience=0)


class HealthMiddleware:
    """Answers `/healthz` and `/readyz`, of any host, before all else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == LIVES:
            return lives()
        if request.path_info == READY:
            return ready()
        return self.get_response(request)


def lives() -> HttpResponse:
    """Say that this process can answer, whatever else can."""
    return HttpResponse("ok", content_type="text/plain", headers={"Cache-Control": "no-store"})


def ready() -> JsonResponse:
    """Say which of the services is out, 200 for none and 503 for any."""
    asked = {check: check.ask() for check in CHECKS}
    with suppress(UnavailableError), _waiting.waiting():  # the others get what was known last
        answered, _ = wait(asked.values(), LIMIT)
        for check in CHECKS:
            check.is_good = check.is_good and asked[check] in answered
    good = {check.name: check.is_good for check in CHECKS}
    found = {name: "ok" if is_good else "out" for name, is_good in good.items()}
    status = 200 if all(good.values()) else 503
    return JsonResponse(found, status=status, headers={"Cache-Control": "no-store"})


class Check:
    """A check in a thread of its own, which has one result for all that ask within 2 s."""

    def __init__(self, name: str, check: Callable[[], bool]) -> None:
        self.name = name
        self.is_good = False
        self._check = check
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(1, f"check of {name}")
        self._began = float("-inf")
        self._asked: Future[None] | None = None

    def ask(self) -> "Future[None]":
        """Return what is done once `is_good` is fresh."""
        with self._lock:
            now = time.monotonic()
            if self._asked is None or (self._asked.done() and now - self._began > FRESH):
                self._began = now
                self._asked = self._threads.submit(self._find_out)
            return self._asked

    def _find_out(self) -> None:
        try:
            self.is_good = self._check()
        except (BotoCoreError, ClientError, DatabaseError, OSError, S3Error) as error:
            self.is_good = False
            logger.warning("%s is out: %s", self.name, " ".join(str(error).split()))


def _database() -> bool:
    """Connect as all others do, and see whether each migration has been applied."""
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    finally:
        connection.close()


def _bucket() -> bool:
    storage = File().storage
    storage.client.head_bucket(Bucket=storage.bucket_name)
    return True


CHECKS = [Check("database", _database), Check("bucket", _bucket)]
