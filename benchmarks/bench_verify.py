"""The bytes of files against their checksums, from nginx in the place of S3, two at a time."""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench_delivery import ORIGIN, start_nginx
from benchmarks.measure import MIB, Run, median, process, table
from project.sandbox import services

SIZE, NUMBER = 1024 * MIB, 4
ROUNDS = 3  # at most
WORKERS = 2

# Makes the rows; the first verification fills in the checksums.
PREPARE = """
from files.models import File
for number in range(%d):
    File.objects.create(object_key=f"bench/{number}.bin")
"""


def run(rounds: int) -> None:
    for program in ("nginx", "sha256sum"):
        if shutil.which(program) is None:
            sys.exit(f"There is no {program}: install Debian's package {program}.")
    with services.running("embedded") as environ, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-verify-")))
        paths = _objects(folder)
        port = services.free_port()
        http = ORIGIN.format(port=port, folder=folder)
        start_nginx(stack, folder / "origin", port, http)
        environ["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{port}"
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        manage = [sys.executable, "manage.py"]
        process([*manage, "migrate", "--verbosity=0"], environ)
        process([*manage, "shell", "-v0", "-c", PREPARE % NUMBER], environ)
        ways = {
            "sha256sum": ["sha256sum", *paths],
            "sha256sum, two processes": [
                "xargs",
                "-a",
                _lines(folder, paths),
                "-n1",
                "-P2",
                "sha256sum",
            ],
            "manage.py verify_files": [*manage, "verify_files", "-v0", f"--workers={WORKERS}"],
            "rclone check --download": _rclone(folder, paths, environ),
        }
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for round_number in range(min(rounds, ROUNDS) + 1):
            for name, command in ways.items():
                found = process(command, environ)
                if round_number:  # the first one warms up
                    runs[name].append(found)
    _print(runs)


def _objects(folder: Path) -> list[str]:
    """Make the objects, which are one file by several names, in the memory of the kernel."""
    bench = folder / "files" / "bench"
    bench.mkdir(parents=True)
    folder.chmod(0o755)
    paths = [bench / f"{number}.bin" for number in range(NUMBER)]
    with paths[0].open("wb+") as file:
        file.truncate(SIZE)
        while file.read(MIB):
            pass
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    return [str(path) for path in paths]


def _lines(folder: Path, paths: list[str]) -> str:
    """Write the paths into a file; return its path."""
    file = folder / "paths"
    file.write_text("\n".join(paths))
    return str(file)


def _rclone(folder: Path, paths: list[str], environ: dict[str, str]) -> list[str]:
    """Return the command that compares the objects with the checksums in a file."""
    sums = folder / "SHA256SUMS"
    digest = process(["sha256sum", paths[0]], environ).output.split()[0].decode()
    names = [f"bench/{Path(path).name}" for path in paths]
    sums.write_text("".join(f"{digest}  {name}\n" for name in names))
    remote = f":s3,provider=Other,env_auth,endpoint='{environ['AWS_ENDPOINT_URL_S3']}':files"
    return [
        *(str(Path(sys.executable).with_name("rclone")), "check", "--download"),
        *(
            "--checkfile=SHA256",
            str(sums),
            remote,
            f"--files-from-raw={_lines(folder / 'origin', names)}",
        ),
        *("--no-traverse", f"--checkers={WORKERS}", f"--config={os.devnull}", "--quiet"),
    ]


def _print(runs: dict[str, list[Run]]) -> None:
    first = median(runs["sha256sum"], "wall")
    rows = [
        [
            name,
            f"{median(found, 'wall'):.1f} s",
            f"{NUMBER * SIZE / MIB / median(found, 'wall'):.0f} MiB/s",
            f"{first / median(found, 'wall'):.2f}",
            f"{median(found, 'cpu'):.1f} s",
            # That of a small program is what this process had when it started it.
            "" if name.startswith("sha256sum") else f"{median(found, 'peak'):.0f} MiB",
        ]
        for name, found in runs.items()
    ]
    table([f"{NUMBER} GiB", "wall", "throughput", "ratio", "CPU", "peak memory"], rows)
