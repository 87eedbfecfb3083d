"""What keeps S3, when it is slow or out, from stopping all else: see `files.circuit`."""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import urllib3
from botocore import exceptions
from django.core.signals import request_started
from django.dispatch import receiver

from files.circuit import Circuit, UnavailableError
from files.storage.connections import connections
from files.storage.errors import S3UnavailableError
from files.storage.journal import Entry
from project import aws

PROBE_TIMEOUT = 1  # seconds

# What says that nobody is there, in urllib3's words and in botocore's; a connection that breaks
# may have been an old one.
SILENCE = (
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.NewConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.ReadTimeoutError,
    exceptions.EndpointConnectionError,
)

# What boto3 has waited for S3 in a request of a client, beyond the usual: none begins after that
# long, so that all of them end within 30 s. A copy or an upload in parts has threads of its own.
USUAL = 3  # seconds
MOST_LOST = 12  # seconds, with which a connect and a read may yet time out
_lost = threading.local()
_background = threading.local()

_circuits: WeakKeyDictionary[Any, Circuit] = WeakKeyDictionary()


def be_in_background() -> None:
    """Let this thread wait for S3 beside the requests of clients, and take the place of none."""
    _background.is_here = True


@receiver(request_started)
def _begin_request(**about: Any) -> None:
    _lost.seconds = 0.0


def circuit_of(client: Any) -> Circuit:
    """Return the circuit of what is asked of S3 by the client, which it watches, and beside it."""
    if client not in _circuits:
        _watch(client)
    return _circuits[client]


def circuits() -> list[Circuit]:
    """Return those of all places that have been asked."""
    return list(_circuits.values())


def _watch(client: Any) -> None:
    """Let the client's requests wait in a circuit of its own, and note them, by botocore's events.

    An event tells what is asked for, or how it ends, but only the context of both the key.
    """
    url = client.meta.endpoint_url
    circuit = _circuits[client] = Circuit("S3", partial(_answers, url))
    asked = threading.local()

    def name(params: dict[str, Any], context: dict[str, Any], **about: Any) -> None:
        context["files_key"] = params.get("Key") or params.get("Prefix") or ""

    def begin(event_name: str, **about: Any) -> None:
        if circuit.threads is not None and getattr(_lost, "seconds", 0) > MOST_LOST:
            raise S3UnavailableError(errno.EAGAIN, "S3 has been waited for long enough")
        _enter(circuit)
        asked.since = time.monotonic()
        asked.entry = Entry(event_name.rpartition(".")[2], "")

    def end(
        exception: Exception | None, parsed_response: Any, context: dict[str, Any], **about: Any
    ) -> None:
        entry: Entry | None = getattr(asked, "entry", None)
        if entry is None:
            return
        asked.entry = None
        _leave(circuit)
        circuit.note(has_answered=not isinstance(exception, SILENCE))
        if hasattr(_lost, "seconds"):
            _lost.seconds += max(0, time.monotonic() - asked.since - USUAL)
        entry.key = context.get("files_key", "")
        _end(entry, exception, parsed_response)

    def fail(exception: Exception, context: dict[str, Any], **about: Any) -> None:
        end(exception, None, context)  # of an answer that botocore cannot read

    client.meta.events.register("before-parameter-build.s3", name)
    client.meta.events.register("after-call-error.s3", fail)
    client.meta.events.register("before-send.s3", begin)
    client.meta.events.register("response-received.s3", end)


def _end(entry: Entry, exception: Exception | None, parsed_response: Any) -> None:
    if parsed_response is None:
        entry.error = type(exception).__name__
    else:
        answer = parsed_response["ResponseMetadata"]
        entry.answered(answer["HTTPStatusCode"], answer.get("HTTPHeaders", {}))
        entry.code = parsed_response.get("Error", {}).get("Code", "")
    entry.end()


@contextmanager
def asking(circuit: Circuit) -> Iterator[None]:
    """Let a request of our own wait in the circuit. Raises S3UnavailableError."""
    _enter(circuit)
    try:
        yield
    except SILENCE:
        circuit.note(has_answered=False)
        raise
    else:
        circuit.note(has_answered=True)
    finally:
        _leave(circuit)


def _enter(circuit: Circuit) -> None:
    if hasattr(_background, "is_here"):
        return
    try:
        circuit.enter()
    except UnavailableError as error:
        raise S3UnavailableError(errno.EAGAIN, str(error)) from None


def _leave(circuit: Circuit) -> None:
    if not hasattr(_background, "is_here"):
        circuit.leave()


def _answers(url: str) -> bool:
    """Return whether S3 answers anything at all, on the way by which all else is asked."""
    options: Any = {"timeout": PROBE_TIMEOUT, "retries": False, "redirect": False}
    try:
        with connections(aws.session(), url) as pool:
            pool.urlopen("HEAD", url if pool.proxy else "/", assert_same_host=False, **options)
    except urllib3.exceptions.HTTPError as error:
        return isinstance(error, urllib3.exceptions.SSLError)  # so somebody is there
    return True
