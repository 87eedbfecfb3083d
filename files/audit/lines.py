"""The lines, and when they are written."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connection, transaction

from files import activity
from files.signals import audited

logger = logging.getLogger("files.audit")

DOWNLOADS = {
    206: "complete",
    302: "handed on",
    304: "not modified",
    404: "missing",
    409: "archived",
    412: "not matched",
    416: "not matched",
}


def record(action: str, outcome: str = "done", **facts: Any) -> None:
    """Write a line; `user` is who did it, unless the facts say so. Raises nothing."""
    now = activity.current()
    line = {"action": action, "outcome": outcome, "user": activity.actor(), **facts}
    if now is not None:
        line |= {"client": now.client, "request_id": now.id}
    logger.info("%s: %s", action, outcome, extra={"facts": line})
    audited.send(sender=None, action=action, outcome=outcome)


@contextmanager
def change(action: str, file: Any, *, is_done: bool = True) -> Iterator[None]:
    """Record what changes a file inside: that it failed, or was done once that is committed.

    Of a transaction that is rolled back nothing is recorded; without autocommit nothing tells of
    the commit. `is_done` is false for what is gone on with after the commit.
    """
    pk, key = file.pk, str(file)
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        record(action, "failed", file=pk, key=key, error=text)
        raise
    found = {"file": pk or file.pk, "key": key}
    if str(file) != key:
        found["new_key"] = str(file)
    if is_done and (connection.in_atomic_block or transaction.get_autocommit()):
        transaction.on_commit(lambda: record(action, **found), robust=True)
    elif is_done:
        record(action, **found)


def download(file: Any, *, is_handed_on: bool = False) -> None:
    """Record that the file is sent, when the answer to the request under way has ended.

    `is_handed_on` where somebody else carries the bytes, so that nobody here counts them.
    """
    now = activity.current()
    if now is not None:
        now.file_id = file.pk
        now.at_end.append(partial(_downloaded, now, file.pk, str(file), is_handed_on))


def _downloaded(now: activity.Activity, pk: int, key: str, is_handed_on: bool) -> None:
    is_ok = now.status == 200
    outcome = "complete" if is_ok else DOWNLOADS.get(now.status, "failed")
    if is_handed_on and is_ok:
        outcome = "handed on"
    if outcome == "complete" and not now.is_whole:
        outcome = "cut off"
    sent = None if outcome == "handed on" else now.sent
    record("download", outcome, file=pk, key=key, bytes=sent, status=now.status)
