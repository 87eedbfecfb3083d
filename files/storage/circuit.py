"""What keeps S3, when it is slow or out, from stopping all else: see `files.circuit`."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import urllib3
from botocore import exceptions

from files.circuit import Circuit, UnavailableError
from files.storage.errors import S3UnavailableError
from files.storage.journal import Entry

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

_circuits: WeakKeyDictionary[Any, Circuit] = WeakKeyDictionary()


def circuit_of(client: Any) -> Circuit:
    """Return the circuit of what is asked of S3 by the client and beside it."""
    return _circuits[client]


def circuits() -> list[Circuit]:
    """Return those of all places that have been asked."""
    return list(_circuits.values())


def watch(client: Any) -> None:
    """Let the client's requests wait in a circuit of its own, and note them, by botocore's events.

    An event tells what is asked for, or how it ends, but only the context of both the key.
    """
    url = client.meta.endpoint_url
    circuit = _circuits[client] = Circuit("S3", lambda: _answers(url))
    asked = threading.local()

    def name(params: dict[str, Any], context: dict[str, Any], **about: Any) -> None:
        context["files_key"] = params.get("Key") or params.get("Prefix") or ""

    def begin(event_name: str, **about: Any) -> None:
        _enter(circuit)
        asked.entry = Entry(event_name.rpartition(".")[2], "")

    def end(
        exception: Exception | None, parsed_response: Any, context: dict[str, Any], **about: Any
    ) -> None:
        entry: Entry | None = getattr(asked, "entry", None)
        if entry is None:
            return
        asked.entry = None
        circuit.leave()
        circuit.note(has_answered=not isinstance(exception, SILENCE))
        entry.key = context.get("files_key", "")
        _end(entry, exception, parsed_response)

    client.meta.events.register("before-parameter-build.s3", name)
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
        circuit.leave()


def _enter(circuit: Circuit) -> None:
    try:
        circuit.enter()
    except UnavailableError as error:
        raise S3UnavailableError(errno.EAGAIN, str(error)) from None


def _answers(url: str) -> bool:
    """Return whether S3 answers anything at all."""
    try:
        urllib3.request("HEAD", url, timeout=PROBE_TIMEOUT, retries=False, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        return isinstance(error, urllib3.exceptions.SSLError)  # so somebody is there
    return True
