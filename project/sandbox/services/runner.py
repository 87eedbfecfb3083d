"""The services as a whole: which kind is taken, what is started, what is yielded, what is kept."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from project.sandbox.services import containers, embedded, environment, lifetime, radosgw
from project.sandbox.services.processes import ServicesError, package_folder
from project.sandbox.services.variables import clean_environ, prepare

Kind = Literal["auto", "containers", "embedded", "radosgw", "environment"]
KINDS: tuple[Kind, ...] = get_args(Kind)
THROW_AWAY = KINDS[:-1]  # those that are started here

_KINDS = {
    "containers": containers,
    "embedded": embedded,
    "radosgw": radosgw,
    "environment": environment,
}
_AUTO = ("containers", "embedded")
_PROJECT = str(Path(__file__).resolve().parents[3])
_STOP = "kept until `manage.py sandbox --stop`"


@contextmanager
def running(
    kind: Kind = "auto", say: Callable[[str], object] = lambda line: None, reuse: bool = False
) -> Iterator[dict[str, str]]:
    """Start the services; yield the whole environment for a process that shall use them.

    It is this process's own, without its `APP_`, `AWS_` and `PG` variables and with those that
    point at the services. `say` gets one line: which kind was taken, and why. Everything is gone
    afterwards, and first of all what was left by a process that could not end its own. With
    `reuse` the services stay, and are taken again by the next that asks so, unless one uses them
    still: then these are for this one alone. Raises ServicesError.
    """
    package_folder("psutil")
    if reuse and kind == "environment":
        raise ServicesError("--services=environment starts nothing to reuse: leave one out.")
    _sweep(kind)
    with ExitStack() as stack:
        variables = _take_kept(kind, stack, say) if reuse else None
        if variables is None:
            chosen, why = _choose(kind)
            keep = reuse and not any(_kept(*_wanted(kind)))
            say(f"{chosen}: {why} ({_KINDS[chosen].describe()}{f'; {_STOP}' if keep else ''})")
            variables = _start(chosen, stack, keep)
        yield clean_environ() | variables


def stop_kept() -> int:
    """End the services that are kept for this project; return how many sets there were.

    Raises ServicesError where somebody uses them.
    """
    _sweep()
    found = list(_kept(*_KINDS))
    for path, kind, _ in found:
        held = lifetime.lock(path)
        if held is None:
            raise ServicesError("The kept services are in use: end what runs on them first.")
        with held:
            _end(path, kind)
    return len(found)


def _take_kept(kind: Kind, stack: ExitStack, say: Callable[[str], object]) -> dict[str, str] | None:
    """Return the variables of services that are kept and free; end those that are out of date."""
    for path, found, record in _kept(*_wanted(kind)):
        held = lifetime.lock(path)
        if held is None:
            continue
        if record["what"] != _KINDS[found].describe() or not _answer(record["variables"]):
            _end(path, found)
            held.close()
            continue
        stack.enter_context(held)
        lifetime.end_processes(lifetime.users(record["variables"]))
        say(f"{found}: from {record['since']} ({record['what']}; {_STOP})")
        variables: dict[str, str] = record["variables"]
        return variables
    return None


def _wanted(kind: Kind) -> tuple[str, ...]:
    return _AUTO if kind == "auto" else (kind,)


def _kept(*kinds: str) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield what is kept for this project and of these kinds."""
    for path, found, record in lifetime.kept():
        if record["project"] == _PROJECT and found in kinds:
            yield path, found, record


def _answer(variables: dict[str, str]) -> bool:
    """Tell whether the database, AWS and S3 still listen."""
    urls = [url for name, url in variables.items() if name.startswith("AWS_ENDPOINT_URL")]
    for place in (
        (variables["APP_DB_HOST"], int(variables["APP_DB_PORT"])),
        *((urlsplit(url).hostname, urlsplit(url).port) for url in urls),
    ):
        try:
            socket.create_connection(place, timeout=2).close()
        except OSError:
            return False
    return True


def _choose(kind: Kind) -> tuple[str, str]:
    """Return which kind is taken, and why."""
    if kind not in ("auto", "containers"):
        return kind, "asked for"
    obstacle = containers.obstacle()
    if obstacle is None:
        return "containers", "Docker answers"
    if kind == "containers":
        raise ServicesError(f"No containers: {obstacle}. --services=embedded needs no Docker.")
    return "embedded", obstacle


def _start(kind: str, stack: ExitStack, keep: bool) -> dict[str, str]:
    """Start the services, which end with the stack or are kept; return their variables."""
    path = lifetime.make(kind)
    with ExitStack() as ends:
        ends.callback(_end, path, kind)
        variables = _started(kind, ends, path, keep) | {lifetime.VARIABLE: str(path)}
        if keep:
            record = {
                "project": _PROJECT,
                "since": f"{datetime.now(UTC).astimezone():%Y-%m-%d %H:%M}",
                "what": _KINDS[kind].describe(),
                "variables": variables,
            }
            stack.enter_context(lifetime.keep(path, kind, record))
            ends.pop_all()
        else:
            stack.push(ends.pop_all())
    return variables


def _started(kind: str, ends: ExitStack, path: Path, keep: bool) -> dict[str, str]:
    if kind == "environment":
        return environment.start(path)
    try:
        return prepare(*_KINDS[kind].start(ends, path, keep))
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise ServicesError(f"{Path(error.cmd[0]).name} fails: {message}") from error
    except (OSError, TimeoutError) as error:
        raise ServicesError(f"The {kind} services do not start: {error}.") from error


def _sweep(wanted: Kind = "auto") -> None:
    """End what processes have left that were killed.

    The environment is left alone by who does not want it: it may be production's, or not answer.
    """
    for path, kind in lifetime.stale():
        if kind != "environment" or wanted == kind:
            with suppress(ServicesError):  # the environment names another place now
                _end(path, kind)


def _end(path: Path, kind: str) -> None:
    """End what runs there and remove the folder, which stays for the next sweep where that fails.

    Raises ServicesError.
    """
    if kind == "containers" and not containers.remove(path):
        return  # Docker does not answer: the next one may
    if kind == "environment":
        environment.remove(path)
    lifetime.end(path)
