"""`manage.py sync_files`: rows in step with a bucket, by S3's events."""

import logging
import signal
import time
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection

from files import audit
from files.catalogue import events
from files.catalogue.events import EventError, Message, Queue, QueueError, QueueUnavailableError
from files.catalogue.owner import NotOwnerError, claim
from files.catalogue.sync import ADDED, MISSING, SAME, UPDATED, is_usable, ours, sync
from files.keys import shown
from files.management.progress import count
from files.management.running import RunningCommand, positive, sentence
from files.management.stopping import StoppedError, Stopping
from files.runs import FOUND, UNFINISHED
from files.storage import S3UnavailableError, be_in_background

MOST_WAIT = 60  # seconds between two attempts while something is out of reach
NO_QUEUE = (
    "There is no queue to follow: set APP_EVENTS_QUEUE_URL to that of an SQS queue to which the"
    " bucket sends its events (README.md tells how to make one)."
)

CHANGES = (ADDED, UPDATED, MISSING)
DONE = {*CHANGES, SAME}

# What may be back later.
OUT = (InterfaceError, OperationalError, QueueUnavailableError, S3UnavailableError)

logger = logging.getLogger(__name__)


class Command(RunningCommand):
    """Works off a batch of messages at a time, and deletes them once the rows are committed.

    It may be killed at any point: what is not deleted comes again, and is done again.
    """

    help = (
        "Follow S3's events from the queue APP_EVENTS_QUEUE_URL: make a row for an object that has"
        " none, bring a row in step whose object is another, and mark files whose object is gone;"
        " the trash is left alone. A message that cannot be worked off stays in the queue. It runs"
        " until SIGTERM, which is status 0, or Ctrl-C. With --once the status is 0, or 1 where"
        " messages stay in the queue. It is 2 where the queue cannot be read, and with --once where"
        " S3 or the database is out of reach."
    )
    unit = "message"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="work off what is in the queue, then end"
        )
        parser.add_argument(
            "--workers",
            metavar="N",
            type=positive,
            default=events.BATCH,
            help=f"how many objects are asked for at a time; default: {events.BATCH}",
        )

    def run(self, **options: Any) -> int:
        if not settings.EVENTS_QUEUE_URL:
            raise CommandError(NO_QUEUE, returncode=UNFINISHED)
        self._threads: Executor
        workers = ThreadPoolExecutor(options["workers"], "head", initializer=be_in_background)
        with Stopping() as self._stopping, workers as self._threads:
            try:
                self._follow(Queue(settings.EVENTS_QUEUE_URL), options["once"])
            except (QueueError, NotOwnerError) as error:
                raise CommandError(f"{error.strerror}.", returncode=UNFINISHED) from error
            except StoppedError:
                if self._stopping.number == signal.SIGINT:
                    raise KeyboardInterrupt from None
                return 0
        return FOUND if self.counts["kept"] else 0

    def _follow(self, queue: Queue, once: bool) -> None:
        """Work off batch after batch; with `once` until there is none."""
        failures, is_owner = 0, False
        while True:
            try:
                with self._stopping.waiting():
                    connection.ensure_connection()  # so that no message is taken in vain
                    if not is_owner:
                        claim()
                        is_owner = True
                    messages = queue.receive(events.SHORT if once else events.LONG)
                if messages:
                    self._work_off(queue, messages)
                elif once:
                    return
                failures = 0
            except OUT as error:
                connection.close()
                if once:
                    raise CommandError(_reason(error), returncode=UNFINISHED) from error
                failures += 1
                self._wait(failures, error)

    def _wait(self, failures: int, error: Exception) -> None:
        seconds = min(MOST_WAIT, 2 ** (failures - 1))
        self._warn("%s; it is tried again in %d s.", _reason(error), seconds)
        with self._stopping.waiting():
            time.sleep(seconds)

    def _work_off(self, queue: Queue, messages: list[Message]) -> None:
        """Bring rows in step, and delete the messages of which nothing is left to be done.

        Raises S3UnavailableError where S3 is out of reach, once that is told.
        """
        named = {found: keys for found in messages if (keys := self._keys(found)) is not None}
        outcomes = sync({key for keys in named.values() for key in keys}, self._threads)
        self._tell(outcomes)
        settled = {key for key, outcome in outcomes.items() if outcome in DONE}
        done = [found for found, keys in named.items() if keys <= settled]
        queue.delete(done)
        self.counts["kept"] += len(messages) - len(done)
        self.progress.advance(len(messages))
        for outcome in outcomes.values():
            if isinstance(outcome, S3UnavailableError):
                raise outcome

    def _keys(self, message: Message) -> set[str] | None:
        """Return the keys that it is about; None where it is none of S3's."""
        try:
            keys = ours(events.parse(message.body))
        except EventError as error:
            self._warn("The message %s stays in the queue: %s.", message.id, error)
            return None
        unusable = {key for key in keys if not is_usable(key)}
        for key in unusable:
            self._warn("There is no row for %s: none can hold this key.", shown(key))
        return keys - unusable

    def _tell(self, outcomes: dict[str, str | OSError]) -> None:
        counts = Counter(outcome for outcome in outcomes.values() if isinstance(outcome, str))
        self.counts += counts
        added, updated, missing = (counts[sign] for sign in CHANGES)
        if added or updated or missing:
            audit.record("sync", added=added, updated=updated, missing=missing)
        for key, outcome in outcomes.items():
            if isinstance(outcome, OSError):
                why = outcome.strerror or outcome
                self._warn("An event of %s stays in the queue: %s", shown(key), why)
            elif self.options["verbosity"] > 1:
                self.progress.print(f"{outcome} {shown(key)}")
        self.stdout.flush()

    def _warn(self, text: str, *arguments: object) -> None:
        self.progress.clear()
        logger.warning(text, *arguments)

    def summary(self) -> str:
        added, updated, missing = (self.counts[sign] for sign in CHANGES)
        parts = [f"{self.progress}: {count(added, 'row', 'rows')} added", f"{updated:,} updated"]
        parts.append(f"{missing:,} marked as missing")
        if kept := self.counts["kept"]:
            parts.append(f"{count(kept, 'message', 'messages')} left in the queue")
        return ", ".join(parts)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return sentence(error).rstrip(".")
    return f"The database is out of reach: {' '.join(str(error).split())}"
