"""What the benchmarks share: running processes in turns, and printing the table."""

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MIB = 2**20


class Run(NamedTuple):
    """One run of a process: seconds of wall time and of CPU, peak memory in MiB, its output."""

    wall: float
    cpu: float
    peak: float
    output: bytes


def process(command: Sequence[str], environ: dict[str, str]) -> Run:
    """Run a command to its end, which must be a good one."""
    start = time.perf_counter()
    running = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE)
    assert running.stdout is not None
    output = running.stdout.read()
    _, status, usage = os.wait4(running.pid, 0)
    wall = time.perf_counter() - start
    running.returncode = os.waitstatus_to_exitcode(status)
    running.stdout.close()
    if running.returncode:
        raise SystemExit(f"{command} ended with {running.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def median(runs: list[Run], field: str) -> float:
    return statistics.median(getattr(run, field) for run in runs)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
