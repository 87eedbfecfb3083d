"""A path that somebody names, written whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_LINKS = 40  # as many as Linux follows
_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def write(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all; write into a device, a pipe or a descriptor as it comes.

    A link is followed where it belongs to this user or to root. What another user has put there for
    this one to write through (a link anywhere, a pipe where everybody may write) is replaced, as
    `mv` does. A file of this user keeps group and mode; any other gets no more than 0666 less the
    umask. Raises OSError, with the path in it.
    """
    path = _follow(path)
    if (descriptor := _descriptor(path)) is not None:
        with open(descriptor, "wb", closefd=False) as target:
            target.writelines(pieces)
        return
    found = _lstat(path)
    if found is None or _is_replaceable(path, found):
        _replace(path, found, pieces)
    else:
        _write_into(path, found, pieces)


def _follow(path: str) -> str:
    """Return where links lead that belong to this user or to root; those of others stay."""
    for _ in range(_LINKS):
        found = _lstat(path)
        if found is None or not stat.S_ISLNK(found.st_mode) or not _is_trusted(found):
            return path
        if _is_descriptor(path):
            return path
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _is_trusted(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


def _is_descriptor(path: str) -> bool:
    """Check for /dev/fd/1 and the like, which /dev/stdout leads to."""
    folder, name = os.path.split(path)
    folders = [os.path.realpath(known) for known in ("/dev/fd", "/proc/self/fd")]
    return name.isdecimal() and os.path.realpath(folder) in folders


def _descriptor(path: str) -> int | None:
    """Return the number of a descriptor that this process was given; its own ones are refused.

    It is written to as it is: opened again, a file that the shell appends to would be cut.
    """
    if not _is_descriptor(path):
        return None
    number = int(os.path.basename(path))
    if not os.get_inheritable(number):  # a connection to the database, for one
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), path)
    return number


def _is_replaceable(path: str, found: os.stat_result) -> bool:
    """Check for what a new file takes the place of: a file, and what another user has planted."""
    if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
        return True
    folder = os.stat(os.path.dirname(path) or ".")
    for_all = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    # Linux's rule for pipes and links in such a folder (fs.protected_fifos), which may be off.
    return bool(for_all) and not _is_trusted(found) and found.st_uid != folder.st_uid


def _write_into(path: str, found: os.stat_result, pieces: Iterable[bytes]) -> None:
    descriptor = os.open(path, _FLAGS | os.O_NOCTTY)
    with open(descriptor, "wb") as target:
        if not os.path.samestat(os.fstat(descriptor), found):
            raise OSError(errno.ESTALE, "Something else has taken its place", path)
        target.writelines(pieces)


def _replace(path: str, found: os.stat_result | None, pieces: Iterable[bytes]) -> None:
    old = found if found and stat.S_ISREG(found.st_mode) else None
    ours = old if old and old.st_uid == os.geteuid() else None
    part = os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}.part")
    mode = 0o666 if old is None else old.st_mode & (0o600 if ours else 0o666)
    with _named(path):
        descriptor = os.open(part, _FLAGS | os.O_CREAT | os.O_EXCL, mode)  # less the umask
    try:
        with open(descriptor, "wb") as target:
            target.writelines(pieces)
            if ours:
                _keep_group_and_mode(descriptor, ours)
        with _named(path):
            os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _keep_group_and_mode(descriptor: int, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode) & 0o777
    try:
        os.fchown(descriptor, -1, found.st_gid)
    except PermissionError:
        mode &= ~stat.S_IRWXG  # which were for another group
    os.fchmod(descriptor, mode)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Let an error name the path that was given, not the part beside it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def discard(out: Any) -> None:
    """Let nothing more be written by a stream whose reader has gone, as `| head` does.

    Python flushes it at its end, which must not fail.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
