"""Whose services are, as those find it that sweep."""

import os
import shutil
import subprocess
import sys
import tempfile

import psutil
import pytest

from project.sandbox.services import lifetime

pytestmark = pytest.mark.alike

OWNER = lifetime._OWNER
NONE = 2**22 + 1  # no process has this id


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of services that belong to this process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lifetime.make("embedded")


def record(folder, **changes):
    own = psutil.Process()
    found = {"kind": "embedded", "pid": own.pid, "started": own.create_time()} | changes
    lifetime._write(folder, found)


def test_the_services_of_a_running_process_are_its_own(folder):
    assert list(lifetime.stale()) == []


@pytest.mark.parametrize("changes", [{"started": 1.0}, {"pid": NONE}])
def test_the_services_of_a_process_that_has_ended_are_nobodys(folder, changes):
    record(folder, **changes)  # the first is of another process that had our id
    assert list(lifetime.stale()) == [(folder, "embedded")]


@pytest.mark.parametrize(("changes", "is_nobodys"), [({}, False), ({OWNER: f"{NONE} 1.0"}, True)])
def test_what_runs_in_a_removed_folder_is_nobodys_without_its_owner(folder, changes, is_nobodys):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    environ = lifetime.owned(os.environ) | changes
    with subprocess.Popen(command, cwd=folder, env=environ) as service:
        shutil.rmtree(folder)
        assert ((folder, "") in lifetime.stale()) == is_nobodys
        lifetime.end(folder)
        assert not psutil.pid_exists(service.pid)


def test_a_folder_without_a_record_is_nobodys_after_a_minute(folder):
    (folder / "services.json").unlink()
    assert list(lifetime.stale()) == []
    os.utime(folder, (0, 0))
    assert list(lifetime.stale()) == [(folder, "")]


def test_the_folders_of_other_users_are_left_alone(folder, tmp_path):
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    record(folder, started=1.0)
    os.chown(folder, 65534, -1)
    (tmp_path / "files-services-link").symlink_to(folder)
    assert list(lifetime.stale()) == []


def test_the_record_is_for_its_user_alone(folder):
    assert (folder / "services.json").stat().st_mode & 0o777 == 0o600


def test_kept_services_are_of_one_at_a_time(folder):
    with lifetime.keep(folder, "embedded", {"project": "here"}):
        assert lifetime.lock(folder) is None
    with lifetime.lock(folder):
        pass
    assert list(lifetime.kept()) == [(folder, "embedded", {"project": "here"})]
    assert list(lifetime.stale()) == []
