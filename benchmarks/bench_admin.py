"""The lists of admin and API, against those of the frameworks on the same table."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import process, table
from project.sandbox import services

ROWS = (1_000_000, 10_000_000)
ROUNDS = 9  # at most


def run(rounds: int, rows: Sequence[int] = ROWS) -> None:
    """Load and measure, from the smallest size to the largest; takes a quarter of an hour."""
    found: dict[int, list[dict[str, Any]]] = {}
    with services.running("embedded") as environ:
        environ |= {
            "APP_ALLOWED_HOSTS": "testserver",
            "APP_DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "benchmarks.stock.admin_settings",
        }
        process([sys.executable, "manage.py", "migrate", "--verbosity=0"], environ)
        for size in sorted(rows):
            command = [sys.executable, "-m", "benchmarks.stock.lists"]
            output = process([*command, str(size), str(min(rounds, ROUNDS))], environ).output
            seconds, found[size] = json.loads(output)
            print(f"\n{size:,} files, loaded and indexed in {seconds:.0f} s.\n")
            table(
                ["a whole page", "stock", "ours", "times faster", "queries"],
                [_row(page) for page in found[size]],
            )
    if len(found) > 1:
        _side_by_side(found)
        _flatness(found)


def _row(page: dict[str, Any]) -> list[str]:
    return [
        page["name"],
        _milliseconds(page["stock"]),
        _milliseconds(page["ours"]) if page["ours"] else "gives up",
        _times(page["stock"] / page["ours"]) if page["ours"] else "",
        str(page["queries"]),
    ]


def _side_by_side(found: dict[int, list[dict[str, Any]]]) -> None:
    header = [each for size in found for each in (f"{size:,} files: stock", "ours", "times faster")]
    print("\nAs README has it.\n")
    rows = [
        [pages[0]["name"], *(cell for page in pages for cell in _row(page)[1:4])]
        for pages in zip(*found.values(), strict=True)
    ]
    table(["a whole page", *header], rows)


def _flatness(found: dict[int, list[dict[str, Any]]]) -> None:
    smallest, largest = min(found), max(found)
    print(f"\nFrom {smallest:,} to {largest:,} files: how many times as long.\n")
    rows = [
        [
            small["name"],
            f"{large['stock'] / small['stock']:.2f}",
            f"{large['ours'] / small['ours']:.2f}" if small["ours"] and large["ours"] else "",
        ]
        for small, large in zip(found[smallest], found[largest], strict=True)
    ]
    table(["a whole page", "stock", "ours"], rows)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
