"""Metrics for Prometheus at `/metrics`: counted by signals, for all processes of a server.

Where these are several, prometheus_client keeps the numbers in the folder that the variable
PROMETHEUS_MULTIPROC_DIR names, which it reads as it is imported; by default it is one of this
process and those that it forks.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare

from files.signals import audited, circuit_changed, s3_answered
from project.signals import database_connected, request_answered, secret_fetched

PATH = "/metrics"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # buckets


def _make_folder() -> None:
    folder, owner = tempfile.mkdtemp(prefix="files-metrics-"), os.getpid()
    os.environ[FOLDER] = folder

    def remove() -> None:
        if os.getpid() == owner:  # and not one that it has forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


if FOLDER not in os.environ:
    _make_folder()

from prometheus_client import (  # noqa: E402 - now that the folder is there
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

REQUESTS = Counter("files_requests", "Requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "files_request_seconds", "Seconds to the end of an answer", ["route"], buckets=SECONDS
)
SENT = Counter("files_sent_bytes", "Bytes of bodies sent", ["route"])
S3_SECONDS = Histogram(
    "files_s3_request_seconds",
    "Seconds to the headers of S3's answer",
    ["operation", "outcome"],
    buckets=SECONDS,
)
OUT = Gauge(
    "files_service_out",
    "Processes for which a service is out of reach",
    ["service"],
    multiprocess_mode="livesum",
)
CONNECTS = Counter("files_database_connects", "Connections to the database begun", ["outcome"])
FETCHES = Counter("files_secret_fetches", "Requests for the database's secret", ["outcome"])
ACTIONS = Counter(
    "files_actions",
    "What the audit tells: upload, download, zip, delete (a purge), login ...",
    ["action", "outcome"],
)


def connect() -> None:
    """Count from now on."""
    request_answered.connect(_count_request)
    s3_answered.connect(_count_s3)
    circuit_changed.connect(_note_circuit)
    for signal, counter in ((database_connected, CONNECTS), (secret_fetched, FETCHES)):
        signal.connect(_counting(counter, "outcome"), weak=False)
    audited.connect(_counting(ACTIONS, "action", "outcome"), weak=False)


def _counting(counter: Counter, *names: str) -> Callable[..., None]:
    def count(**about: Any) -> None:
        counter.labels(*(about[name] for name in names)).inc()

    return count


def _count_request(
    method: str, route: str, status: int, sent: int, seconds: float, **about: Any
) -> None:
    REQUESTS.labels(method, route, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    SENT.labels(route).inc(sent)


def _count_s3(operation: str, outcome: str, seconds: float, **about: Any) -> None:
    S3_SECONDS.labels(operation, outcome).observe(seconds)


def _note_circuit(name: str, is_out: bool, **about: Any) -> None:
    OUT.labels(name).set(is_out)


class MetricsMiddleware:
    """Answers `/metrics`, of any host, to who has the token."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return _answer(request) if request.path_info == PATH else self.get_response(request)


def _answer(request: HttpRequest) -> HttpResponse:
    given: str = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        text = "The metrics are for who sends the token of APP_METRICS_TOKEN as Bearer."
        headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return HttpResponse(text, content_type="text/plain", status=401, headers=headers)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return HttpResponse(
        generate_latest(registry),
        content_type=CONTENT_TYPE_LATEST,
        headers={"Cache-Control": "no-store"},
    )
