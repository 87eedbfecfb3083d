"""`manage.py check_files`: where rows and bucket differ."""

import json
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from files.catalogue.check import (
    DIFFERS,
    NO_OBJECT,
    NO_ROW,
    SAME,
    Checked,
    Finding,
    check,
    check_report,
)
from files.catalogue.inventory import Report
from files.catalogue.walk import Part
from files.management.progress import count
from files.management.walking import WalkingCommand
from files.runs import UNFINISHED

SIGNS = NO_OBJECT + NO_ROW + DIFFERS + SAME


def signs(text: str) -> str:
    """Read signs, each of which is one character."""
    if not text or set(text) - set(SIGNS):
        raise ArgumentTypeError(f"{text!r} is none or more of the signs {SIGNS}")
    return text


class Command(WalkingCommand):
    """Compares the listing with the rows, in constant memory; no object is asked for by itself."""

    help = (
        "Print a line for each difference: - a row without an object, + an object without a row,"
        " * another size or ETag, ! a part of the bucket that could not be listed. Control"
        " characters are shown as pictures; --json has the exact keys. What is in the trash is no"
        " difference, nor what is just being changed, nor with --inventory a younger row. The exit"
        " status is 0 where there is no difference, 1 where there are some, and 2 where it was not"
        " finished."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--only",
            metavar="SIGNS",
            type=signs,
            default=NO_OBJECT + NO_ROW + DIFFERS,
            help="only lines with these signs, such as --only=-*",
        )
        which.add_argument(
            "--all", action="store_const", dest="only", const=SIGNS, help="also = for what agrees"
        )
        parser.add_argument("--json", action="store_true", help="print a JSON object on each line")
        parser.add_argument(
            "--mark",
            action="store_true",
            help="write to the rows what is missing or changed, and what is back, for the admin",
        )

    def distribute(self, **options: Any) -> dict[str, Any]:
        chosen = {name: options[name] for name in ("only", "json", "mark")}
        return super().distribute(**options) | chosen

    def work(self, **options: Any) -> Callable[[Part], Iterator[Checked]]:
        return partial(check, with_same=SAME in options["only"], mark=options["mark"])

    def work_on(
        self, report: Report, **options: Any
    ) -> tuple[Sequence[Report], Callable[[Report], Iterator[Checked]]]:
        if options["workers"]:
            text = "An inventory is compared by one session of the database: leave out --workers."
            raise CommandError(text, returncode=UNFINISHED)
        chosen = {"prefix": options["prefix"], "mark": options["mark"]}
        return [report], partial(check_report, with_same=SAME in options["only"], **chosen)

    def take(self, found: Checked) -> None:
        self.counts["rows"] += found.rows
        self.counts["young"] += found.young
        self.counts["archived"] += found.archived
        for finding in found.findings:
            if finding.sign in self.options["only"]:
                self.counts[finding.sign] += 1
                self._tell(finding)
        self.progress.advance(found.objects)

    def _tell(self, finding: Finding) -> None:
        if self.options["json"]:
            self.progress.print(json.dumps(_facts(finding)))
        else:
            self.print(finding.sign, finding.key)

    def has_found(self) -> bool:
        return any(self.counts[sign] for sign in SIGNS if sign != SAME)

    def summary(self) -> str:
        counts = self.counts
        names = {
            NO_OBJECT: ("row without an object", "rows without an object"),
            NO_ROW: ("object without a row", "objects without a row"),
            DIFFERS: ("that differs", "that differ"),
        }
        parts = [count(counts[sign], *name) for sign, name in names.items()]
        if counts["archived"]:
            parts.append(f"{counts['archived']:,} archived")
        if counts["young"]:
            parts.append(f"{counts['young']:,} younger and not judged")
        if counts["failed"]:
            parts.append(count(counts["failed"], "part not listed", "parts not listed"))
        rows = count(counts["rows"], "row", "rows")
        return f"{self.progress}, {rows}: {', '.join(parts)}{self.as_of()}"


def _facts(finding: Finding) -> dict[str, Any]:
    entry, row = finding.object, finding.row
    names = ("size", "etag", "modified", "storage_class")
    return {
        "sign": finding.sign,
        "key": finding.key,
        "object": entry and {name: getattr(entry, name) for name in names},
        "row": row and {"id": row.id, "size": row.size, "etag": row.etag},
    }
