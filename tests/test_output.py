"""Where `read_file --output` writes, and what it never touches; as two users where root runs it."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

import pytest

from files.management.output import write

SOMEBODY, OTHER = 65533, 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as two users")


@contextlib.contextmanager
def acting_as(user):
    """Give this process the rights of another user for a while."""
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def shared():
    """Make a folder as /tmp is: everybody may write, and remove only what is theirs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


@pytest.fixture
def victim(shared):
    """Make a file that nobody wants to have overwritten."""
    path = shared / "victim"
    path.write_bytes(b"precious")
    path.chmod(0o600)
    return path


def plant(path, target, user):
    path.symlink_to(target)
    os.lchown(path, user, user)
    return path


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def is_file_of(path, data):
    return stat.S_ISREG(os.lstat(path).st_mode) and path.read_bytes() == data


# The mode


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, mask, mode):
    with umask(mask):
        write(str(tmp_path / "out"), iter([b"new"]))
    assert mode_of(tmp_path / "out") == mode


def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)
    write(str(tmp_path / "out"), iter([b"new"]))
    assert is_file_of(tmp_path / "out", b"new")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_file_that_is_there_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "out"
    path.touch()
    path.chmod(mode)
    write(str(path), iter([b"new"]))
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)


def test_nobody_else_reads_the_content_of_a_private_file_while_it_is_written(tmp_path):
    path = tmp_path / "out"
    path.touch(0o600)
    modes = []

    def pieces():
        modes.extend(mode_of(part) for part in tmp_path.iterdir())
        yield b"new"

    write(str(path), pieces())
    assert modes == [0o600, 0o600]


@needs_root
def test_a_file_that_is_there_keeps_its_group(tmp_path):
    path = tmp_path / "out"
    path.touch()
    os.chown(path, 0, OTHER)
    path.chmod(0o660)
    write(str(path), iter([b"new"]))
    assert (os.stat(path).st_gid, mode_of(path)) == (OTHER, 0o660)


@needs_root
def test_a_group_that_cannot_be_kept_gives_no_rights_to_another(shared):
    path = shared / "out"
    path.touch()
    os.chown(path, SOMEBODY, OTHER)
    path.chmod(0o664)
    with acting_as(SOMEBODY):
        write(str(path), iter([b"new"]))
    assert (os.stat(path).st_gid, mode_of(path)) == (SOMEBODY, 0o604)


@needs_root
@pytest.mark.parametrize(("planted", "mode"), [(0o666, 0o644), (0o600, 0o600)])
def test_what_replaces_a_file_of_another_user_is_no_wider_than_a_new_one(shared, planted, mode):
    path = shared / "out"
    path.touch()
    path.chmod(planted)
    os.chown(path, OTHER, OTHER)
    with umask(0o022):
        write(str(path), iter([b"new"]))
    assert (mode_of(path), os.stat(path).st_uid) == (mode, 0)


# Links


def test_a_link_of_ones_own_is_followed_and_stays(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch(0o600)
    link.symlink_to("target")
    write(str(link), iter([b"new"]))
    assert os.readlink(link) == "target"
    assert (target.read_bytes(), mode_of(target)) == (b"new", 0o600)


def test_a_link_of_ones_own_to_nothing_makes_the_file(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write(str(tmp_path / "link"), iter([b"new"]))
    assert is_file_of(tmp_path / "target", b"new")


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write(str(tmp_path / "a"), iter([b"new"]))


@needs_root
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o2775, 0o755])
def test_a_link_that_another_user_planted_is_replaced(shared, victim, mode):
    link = plant(shared / "out", victim, OTHER)
    shared.chmod(mode)
    write(str(link), iter([b"new"]))
    assert is_file_of(link, b"new")
    assert is_file_of(victim, b"precious")


@needs_root
def test_a_planted_link_that_cannot_be_replaced_is_an_error(shared, victim):
    os.chown(victim, SOMEBODY, SOMEBODY)
    link = plant(shared / "out", victim, OTHER)
    with acting_as(SOMEBODY), pytest.raises(PermissionError) as raised:
        write(str(link), iter([b"new"]))
    assert raised.value.filename == str(link)
    assert is_file_of(victim, b"precious")
    assert sorted(os.listdir(shared)) == ["out", "victim"]


@needs_root
def test_a_planted_link_behind_one_of_ones_own_is_replaced(shared, victim):
    plant(shared / "planted", victim, OTHER)
    (shared / "out").symlink_to("planted")
    write(str(shared / "out"), iter([b"new"]))
    assert os.readlink(shared / "out") == "planted"
    assert is_file_of(shared / "planted", b"new")
    assert is_file_of(victim, b"precious")


@needs_root
def test_a_link_of_roots_is_followed_by_others(shared):
    plant(shared / "out", "target", 0)
    with acting_as(SOMEBODY):
        write(str(shared / "out"), iter([b"new"]))
    assert os.readlink(shared / "out") == "target"
    assert is_file_of(shared / "target", b"new")


def test_a_link_planted_while_it_is_written_is_replaced(shared, victim):
    path = shared / "out"

    def pieces():
        yield b"ne"
        path.symlink_to(victim)
        yield b"w"

    write(str(path), pieces())
    assert is_file_of(path, b"new")
    assert is_file_of(victim, b"precious")


# Devices, pipes, descriptors


@contextlib.contextmanager
def pipe_at(path):
    """Make a named pipe; yield its open end."""
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield end
    os.close(end)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_written_to_by_its_name_and_by_a_link(tmp_path, name):
    (tmp_path / "link").symlink_to("pipe")
    with pipe_at(tmp_path / "pipe") as end:
        write(str(tmp_path / name), iter([b"te", b"xt"]))
        assert os.read(end, 10) == b"text"
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_device_is_written_to_by_a_link(tmp_path):
    (tmp_path / "link").symlink_to(os.devnull)
    write(str(tmp_path / "link"), iter([b"text"]))
    assert os.readlink(tmp_path / "link") == os.devnull
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@needs_root
def test_a_link_to_a_pipe_that_another_user_planted_is_replaced(shared):
    with pipe_at(shared / "pipe") as end:
        link = plant(shared / "out", "pipe", OTHER)
        write(str(link), iter([b"new"]))
        with pytest.raises(BlockingIOError):
            os.read(end, 10)
    assert is_file_of(link, b"new")


@needs_root
def test_a_pipe_that_another_user_planted_where_all_may_write_is_replaced(shared):
    path = shared / "out"
    with pipe_at(path) as end:
        os.chown(path, OTHER, OTHER)
        write(str(path), iter([b"new"]))
        with pytest.raises(BlockingIOError):
            os.read(end, 10)
    assert is_file_of(path, b"new")


@needs_root
def test_a_pipe_of_another_user_in_a_folder_of_theirs_is_written_to(tmp_path):
    with pipe_at(tmp_path / "pipe") as end:
        os.chown(tmp_path / "pipe", OTHER, OTHER)
        write(str(tmp_path / "pipe"), iter([b"text"]))
        assert os.read(end, 10) == b"text"


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_an_inherited_descriptor_is_written_to_where_it_stands(tmp_path, folder):
    with open(tmp_path / "log", "ab") as log:
        log.write(b"old, ")
        log.flush()
        os.set_inheritable(log.fileno(), True)
        write(f"{folder}/{log.fileno()}", iter([b"new"]))
    assert (tmp_path / "log").read_bytes() == b"old, new"


def test_a_descriptor_of_this_process_alone_is_refused(tmp_path):
    ours = (tmp_path / "connection").open("wb")
    with ours, pytest.raises(OSError, match="Bad file descriptor"):
        write(f"/dev/fd/{ours.fileno()}", iter([b"new"]))
    assert is_file_of(tmp_path / "connection", b"")


# Whole or not at all


def failing():
    yield b"new"
    raise OSError("S3 has gone")


def test_what_fails_leaves_the_old_content_and_nothing_else(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(OSError, match="S3 has gone"):
        write(str(tmp_path / "out"), failing())
    assert os.listdir(tmp_path) == ["out"]
    assert is_file_of(tmp_path / "out", b"old")


def test_a_name_of_255_bytes_is_written(tmp_path):
    path = tmp_path / ("😀" * 63 + "abc")
    write(str(path), iter([b"new"]))
    assert is_file_of(path, b"new")


@pytest.mark.parametrize("name", ["no/out", "file/out", "folder/", "folder"])
def test_an_error_names_the_path_that_was_given(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = f"{tmp_path}/{name}"
    with pytest.raises(OSError, match=r".") as raised:
        write(path, iter([b"new"]))
    assert raised.value.filename == path
    assert os.listdir(tmp_path / "folder") == []
