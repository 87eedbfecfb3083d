"""The services as a whole: which kind is taken, what is started, what is yielded."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, get_args

from project.sandbox.services import containers, embedded
from project.sandbox.services.environment import Postgres, clean_environ, prepare
from project.sandbox.services.processes import ServicesError

Kind = Literal["auto", "containers", "embedded"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@contextmanager
def running(
    kind: Kind = "auto", say: Callable[[str], object] = lambda line: None
) -> Iterator[dict[str, str]]:
    """Start the services; yield the whole environment for a process that shall use them.

    It is this process's own, without its `APP_`, `AWS_` and `PG` variables and with those that
    point at the services. `say` gets one line: which kind was taken, and why. Everything is gone
    afterwards. Raises ServicesError.
    """
    kind, why = _choose(kind)
    say(f"{kind}: {why}")
    with ExitStack() as stack:
        postgres, endpoint = _start(kind, stack)
        yield clean_environ() | prepare(postgres, endpoint)


def _choose(kind: Kind) -> tuple[Literal["containers", "embedded"], str]:
    """Return which kind is taken, and why."""
    if kind == "embedded":
        return "embedded", "asked for (PostgreSQL from a wheel, MiniStack for AWS)"
    obstacle = containers.obstacle()
    if obstacle is None:
        images = f"{containers.POSTGRES_IMAGE} and {containers.LOCALSTACK_IMAGE}"
        return "containers", f"Docker answers and has {images}"
    if kind == "containers":
        raise ServicesError(f"No containers: {obstacle}. --services=embedded needs no Docker.")
    return "embedded", f"{obstacle} (PostgreSQL from a wheel, MiniStack for AWS)"


def _start(kind: str, stack: ExitStack) -> tuple[Postgres, str]:
    start = containers.start if kind == "containers" else embedded.start
    try:
        return start(stack)
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise ServicesError(f"{Path(error.cmd[0]).name} fails: {message}") from error
    except (OSError, TimeoutError) as error:
        raise ServicesError(f"The {kind} services do not start: {error}.") from error
