"""What is noted of each request to S3: a line in the log, and its time in the activity."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from files import activity
from files.signals import s3_answered

logger = logging.getLogger("files.s3")

# What S3 answers in the course of work: `exists` asks for what is not there, a condition fails.
EXPECTED = {404, 409, 412, 416}


@dataclass
class Entry:
    """A request, from now on, and what S3 answers to it; `key` is the bucket's, if it has one."""

    operation: str
    key: str
    status: int | None = None
    code: str = ""
    request_id: str = ""
    error: str = ""
    began: float = field(default_factory=time.monotonic)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Take what the answer says but for its body."""
        self.status, self.request_id = status, headers.get("x-amz-request-id", "")

    def end(self) -> None:
        """Note it."""
        seconds = time.monotonic() - self.began
        if now := activity.current():
            now.s3_requests += 1
            now.s3_seconds += seconds
        is_fine = self.status is not None and (self.status < 400 or self.status in EXPECTED)
        what = {
            "operation": self.operation,
            "key": self.key,
            "status": self.status,
            "code": self.code if self.status else self.error,
            "s3_request_id": self.request_id,
            "seconds": round(seconds, 4),
        }
        logger.log(
            logging.INFO if is_fine else logging.WARNING,
            *("S3 answers %s to %s", self.status or self.error, self.operation),
            extra={"facts": what},
        )
        outcome = str(self.status or self.error)
        s3_answered.send(sender=None, operation=self.operation, outcome=outcome, seconds=seconds)


@contextmanager
def requested(operation: str, key: str) -> Iterator[Entry]:
    """Note the request that is sent inside."""
    entry = Entry(operation, key)
    try:
        yield entry
    except Exception as error:
        entry.error = entry.error or type(error).__name__
        raise
    finally:
        entry.end()
