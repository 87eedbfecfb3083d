"""The table of long work, which goes on when the request that began it has ended."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.messages import ERROR, SUCCESS
from django.db import models, transaction
from django.db.models import F, Value
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from files.models import File

LATE = timedelta(minutes=1)  # without a sign of its process
KEPT = timedelta(days=7)
MOST_SHOWN = 5  # on the list of files
MOST_UNDONE = 1000  # files: a page of the list has 100
MOST_FAILURES = 100  # that the page tells of; the log has all


def as_it_is(file: "File") -> list[str]:
    """Return what tells a file from what has been made of it later."""
    return [str(file), file.etag, file.deleted_at.isoformat() if file.deleted_at else ""]


class WorkQuerySet(models.QuerySet["Work"]):
    """Long work, of everybody."""

    def recent(self, user: Any) -> "WorkQuerySet":
        """Return some: what the user has under way, then what has ended within the hour."""
        since = timezone.now() - timedelta(hours=1)
        order = F("ended_at").desc(nulls_first=True), "-pk"
        found = self.filter(user_id=user.pk, seen_at__gt=since, is_told=False)
        return found.order_by(*order)[:MOST_SHOWN]

    def old(self) -> "WorkQuerySet":
        """Return what nobody asks for any more."""
        return self.filter(seen_at__lt=timezone.now() - KEPT)


class Work(models.Model):
    """Long work: what its page shows, whichever process is asked for it; or what can be undone.

    The thread that does the work changes the attributes, and another one of its process writes them
    every other second. The row of a process that was killed stays as it was then.
    """

    user_id = models.BigIntegerField()  # no foreign key: that would lock the table of the users
    token_id = models.BigIntegerField(null=True)  # of the program that has begun it, likewise
    title = models.TextField()
    url = models.TextField()  # where it leads to when it has ended
    total = models.IntegerField(default=1)  # files
    done = models.IntegerField(default=0)  # files, those that failed among them
    failed = models.IntegerField(default=0)
    parts = models.IntegerField(default=0)  # of the large object that is copied now
    parts_done = models.IntegerField(default=0)
    # A level of Django's messages, a text, and where it leads to, if anywhere.
    messages = models.JSONField(default=list)
    # Of each file that it has changed: see `note_undo`.
    undo = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    is_told = models.BooleanField(default=False, db_default=False)  # at its end, by its request
    started_at = models.DateTimeField(null=True)  # not while it waits for its turn
    seen_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    objects = WorkQuerySet.as_manager()

    class Meta:
        db_table = "files_work"
        default_permissions = ()
        verbose_name = _("long work")
        verbose_name_plural = _("long work")
        indexes = [models.Index(fields=["seen_at"], name="files_work_seen")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_interrupted(self) -> bool:
        """Whether its process has ended before it."""
        return self.ended_at is None and self.seen_at < timezone.now() - LATE

    @property
    def is_under_way(self) -> bool:
        """Whether it goes on, or will when its turn comes."""
        return self.ended_at is None and not self.is_interrupted

    @property
    def percent(self) -> int:
        """How much of the large object has been copied."""
        return 100 * self.parts_done // max(self.parts, 1)

    def note_copied(self, done: int, parts: int) -> None:
        """Note how many parts of a large object have been copied."""
        self.parts_done, self.parts = done, parts

    def note_done(self) -> None:
        """Note that one more file has been worked on."""
        self.done += 1
        self.parts = self.parts_done = 0

    def fail(self, text: str) -> None:
        """Tell what cannot be done with a file."""
        self.failed += 1
        if self.failed <= MOST_FAILURES:
            self.tell(text, ERROR)

    def tell(self, text: str, level: int = SUCCESS, url: str = "") -> None:
        """Tell the user something, on this page or on the next; it leads to the address."""
        self.messages.append([level, text, url] if url else [level, text])

    def take_undo(self) -> list[Any]:
        """Return what `note_undo` has noted, to one of those who ask at the same time."""
        with transaction.atomic():
            row = Work.objects.select_for_update().filter(pk=self.pk).first()
            Work.objects.filter(pk=self.pk).update(undo=[])
        return list(row.undo) if row else []

    def told(self) -> Iterator[tuple[int, str, str]]:
        """Yield level, text and address of what it tells; the address may be empty."""
        for level, text, *url in self.messages:
            yield level, text, *(url or [""])

    def note_undo(self, file: "File", before: str = "") -> None:
        """Note a file as it is now: it had the key `before`, or else was put into the trash."""
        if len(self.undo) < MOST_UNDONE:
            self.undo.append([file.pk, before, *as_it_is(file)])

    def write(self) -> None:
        """Write the row as it is at this moment. Raises what the database raises."""
        if self._state.adding:
            self.save(force_insert=True)
            return
        names = (
            *("done", "failed", "parts", "parts_done", "messages", "undo"),
            *("started_at", "ended_at"),
        )
        values = {name: getattr(self, name) for name in names}
        Work.objects.filter(pk=self.pk).update(seen_at=Now(), **values)
