"""manage.py and the start of other processes, as in production: without the sandbox."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.processes import ROOT, manage
from tests.test_startup import NOTHING

PRODUCTION = {"APP_DEBUG": "false"}
COLLECTOR = "import gc; print(gc.isenabled(), gc.get_freeze_count() > 0)"


def run(*arguments, folder=ROOT, environ=PRODUCTION):
    """Run Python as a process in a folder with the project, whose settings it names."""
    merged = os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings"} | environ
    return subprocess.run(
        [sys.executable, *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


# The garbage collector


@pytest.mark.parametrize("start", ["import django; django.setup()", "import project.wsgi"])
def test_a_process_that_loads_the_application_keeps_its_collector(start):
    assert run("-c", f"{start}; {COLLECTOR}").stdout == b"True False\n"


def test_a_process_that_has_switched_its_collector_off_keeps_it_off():
    done = run("-c", f"import gc; gc.disable(); import django; django.setup(); {COLLECTOR}")
    assert done.stdout == b"False False\n"


def test_a_command_collects_but_not_what_the_start_has_made():
    done = manage("shell", "-v0", "-c", COLLECTOR)
    assert (done.stdout, done.stderr) == (b"True True\n", b"")


# Production


def test_production_does_not_list_the_commands_of_the_sandbox():
    done = manage("help", "--commands", environ=PRODUCTION)
    commands = set(done.stdout.decode().split())
    assert commands >= {"read_file", "purge_files", "migrate"}
    assert not commands & {"sandbox", "load_samples"}
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["load_samples"], ["help", "load_samples"]])
def test_a_command_of_the_sandbox_in_production_says_what_to_do(arguments):
    done = manage(*arguments, environ=PRODUCTION)
    assert done.stderr.decode() == (
        "manage.py: load_samples is not part of production:"
        " set APP_DEBUG=true, or run `manage.py sandbox` for throw-away services.\n"
    )
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.fixture
def image(tmp_path):
    """Copy what the Dockerfile copies, less what .dockerignore leaves out."""
    shutil.copy(ROOT / "manage.py", tmp_path)
    left_out = shutil.ignore_patterns("__pycache__", "sandbox")
    for name in ("project", "files"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out)
    return tmp_path


def test_the_image_is_built_without_the_sandbox(image):
    assert "project/sandbox" in (ROOT / ".dockerignore").read_text().split()
    done = run("manage.py", "collectstatic", "--noinput", folder=image, environ=NOTHING)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (image / "static" / "staticfiles.json").is_file()


@pytest.mark.parametrize(
    ("command", "environ"),
    [("help", NOTHING), ("check", PRODUCTION), ("check", {"APP_DEBUG": "1"})],
)
def test_the_image_works_without_the_sandbox(image, command, environ):
    done = run("manage.py", command, folder=image, environ=environ)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["sandbox", "load_samples"])
def test_the_image_says_that_the_sandbox_is_not_there(image, command):
    done = run("manage.py", command, folder=image)
    assert done.stderr.decode() == (
        f"manage.py: {command} is not there: project/sandbox is left out here;"
        " run it where the whole project is.\n"
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_server_loads_the_image_without_the_sandbox(image):
    done = run("-c", "import project.wsgi, project.asgi; print('served')", folder=image)
    assert (done.stdout, done.returncode) == (b"served\n", 0)
