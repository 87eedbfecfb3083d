"""`manage.py own_bucket`: which database may delete objects of the bucket."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.catalogue import owner
from files.management.running import sentence
from files.runs import FOUND


class Command(BaseCommand):
    """Exits with 0 where the bucket is this database's, and with 1 where not."""

    help = (
        "Print whose the bucket is: the one database that may delete objects in it, so that a copy"
        " of the database destroys nothing of the other one. The first that deletes something"
        " becomes the owner. The exit status is 1 where this database is not."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--take", action="store_true", help="make the bucket this database's, whosever it was"
        )

    def handle(self, *, take: bool, **options: Any) -> None:
        try:
            is_ours = self._take() if take else self._tell()
        except OSError as error:
            raise CommandError(f"{sentence(error)}.") from error
        if not is_ours:
            sys.exit(FOUND)

    def _take(self) -> bool:
        before = owner.take()
        text = f"The bucket {owner.place()} is that of this database now, {owner.this()}"
        self.stdout.write(f"{text}; before it was that of {before or 'nobody who is known'}.")
        return True

    def _tell(self) -> bool:
        found, database = owner.owner(), owner.this()
        if found is None:
            self.stdout.write(f"The bucket {owner.place()} is nobody's yet.")
            return False
        is_ours = found.is_same(database)
        whose = "this database" if is_ours else "another database"
        self.stdout.write(
            f"The bucket {owner.place()} is that of {whose}, {found}, since {found.since}."
        )
        return is_ours
