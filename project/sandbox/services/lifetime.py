"""How long services live: whose they are, what runs on them, who may take them, their end."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

VARIABLE = "APP_SERVICES"  # names the folder to whatever runs on the services

_OWNER = "APP_SERVICES_OWNER"  # tells a service by whom it was started: process id and start
_PREFIX = "files-services-"
_RECORD = "services.json"
_PATIENCE = 10  # seconds that a process gets to end by itself
_UNRECORDED = 60  # seconds after which a folder without a record is nobody's


def make(kind: str) -> Path:
    """Make a folder that belongs to this process, and to nobody once that has ended."""
    import psutil

    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    owner = psutil.Process()
    _write(folder, {"kind": kind, "pid": owner.pid, "started": owner.create_time()})
    return folder


def keep(folder: Path, kind: str, record: dict[str, Any]) -> IO[bytes]:
    """Let a folder and what runs in it stay, for whoever looks for such a record; lock it."""
    _write(folder, {"kind": kind, "kept": record})
    file = (folder / _RECORD).open("rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def kept() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield folder, kind and record of the services that are kept."""
    for folder in _ours():
        found = _read(folder)
        if "kept" in found:
            yield folder, found["kind"], found["kept"]


def lock(folder: Path) -> IO[bytes] | None:
    """Return a file that holds the folder until it is closed; None where somebody else does."""
    file = (folder / _RECORD).open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def owned(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a service of this process."""
    import psutil

    owner = psutil.Process()
    return {**environ, _OWNER: f"{owner.pid} {owner.create_time()}"}


def stale() -> Iterator[tuple[Path, str]]:
    """Yield folder and kind of the services whose owner has ended without ending them."""
    for folder in set(_removed()):
        yield folder, ""
    for folder in _ours():
        found = _read(folder)
        if found and "kept" not in found and not _is_alive(found["pid"], found["started"]):
            yield folder, found["kind"]
        elif not found and _age(folder) > _UNRECORDED:
            yield folder, ""


def end(folder: Path) -> None:
    """End what runs on the services, then themselves, and remove the folder."""
    import psutil

    end_processes(users({VARIABLE: str(folder)}))
    end_processes([process for process in psutil.process_iter() if _is_inside(process, folder)])
    shutil.rmtree(folder, ignore_errors=True)


def users(environ: Mapping[str, str]) -> "list[psutil.Process]":
    """Return what runs on the services of the environment, but for this process and its parents."""
    import psutil

    if VARIABLE not in environ:
        return []
    folder = Path(environ[VARIABLE])
    own = psutil.Process()
    spared = {own, *own.parents()}
    return [
        process
        for process in psutil.process_iter()
        if process not in spared and _uses(process, folder) and not _is_inside(process, folder)
    ]


def _write(folder: Path, record: dict[str, Any]) -> None:
    """Put the record in place as a whole; it names a password, so that it is for us alone."""
    unfinished = folder / f"{_RECORD}.{os.getpid()}"
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(record, file)
    unfinished.replace(folder / _RECORD)


def _read(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _ours() -> Iterator[Path]:
    """Yield the folders that this user has made: anybody may put one into /tmp."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if not folder.is_symlink() and folder.lstat().st_uid == os.geteuid():
                yield folder


def _removed() -> Iterator[Path]:
    """Yield folders that are gone, while what ran in them still does without its owner."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            place = Path(process.cwd())
            found = [path for path in (place, *place.parents) if path.name.startswith(_PREFIX)]
            if found and not found[0].exists() and (owner := process.environ().get(_OWNER)):
                pid, started = owner.split()
                if not _is_alive(int(pid), float(started)):
                    yield found[0]


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.lstat().st_mtime
    except FileNotFoundError:
        return 0


def _is_alive(pid: int, started: float) -> bool:
    """Tell whether the process runs that had this id then: an id is given again."""
    import psutil

    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False


def _is_inside(process: "psutil.Process", folder: Path) -> bool:
    """Tell whether the process is a service: all of them work in their folder."""
    import psutil

    with suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(folder.resolve())
    return False


def _uses(process: "psutil.Process", folder: Path) -> bool:
    import psutil

    with suppress(psutil.Error):
        return process.environ().get(VARIABLE) == str(folder)
    return False


def end_processes(processes: "list[psutil.Process]") -> None:
    """Ask the processes to end, PostgreSQL to do so at once; kill those that do not."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, _PATIENCE)[1]:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, _PATIENCE)
