"""What is said where Docker is not there, refuses, hangs, or has no image."""

import gc
import json
import os
import socket
from hashlib import sha256

import pytest

from project.sandbox.services import containers, free_port


@pytest.fixture
def silent(tmp_path):
    """Return the address of a Docker that never answers."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield f"unix://{path}"


def test_a_docker_that_is_not_there_is_named(monkeypatch, tmp_path):
    for host in (f"unix://{tmp_path}/none", f"tcp://127.0.0.1:{free_port()}", "nonsense://here"):
        monkeypatch.setenv("DOCKER_HOST", host)
        assert containers.obstacle() == f"Docker does not answer at {host}"


def test_a_context_of_docker_is_heeded(monkeypatch, tmp_path):
    host = f"unix://{tmp_path}/none"
    context = tmp_path / "contexts" / "meta" / sha256(b"away").hexdigest() / "meta.json"
    context.parent.mkdir(parents=True)
    context.write_text(
        json.dumps({"Name": "away", "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
    )
    (tmp_path / "config.json").write_text('{"currentContext": "away"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "")  # since testcontainers sets it, so that it is undone
    monkeypatch.delenv("DOCKER_HOST")
    assert containers.obstacle() == f"Docker does not answer at {host}"


def test_a_docker_that_never_answers_is_given_up(monkeypatch, silent):
    monkeypatch.setattr(containers, "_PATIENCE", 0.2)
    monkeypatch.setenv("DOCKER_HOST", silent)
    assert containers.obstacle() == f"Docker does not answer at {silent}"


def test_a_docker_of_others_is_said_to_be_so(monkeypatch, silent):
    os.chmod(silent.removeprefix("unix://"), 0)
    monkeypatch.setenv("DOCKER_HOST", f"{silent}.none")
    containers.obstacle()  # which imports what `nobody` may not read
    monkeypatch.setenv("DOCKER_HOST", silent)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        found = containers.obstacle()
    finally:
        os.seteuid(user)
    assert found == f"Docker refuses this user at {silent}, who can join the group docker"


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("postgres", "APP_TEST_POSTGRES_IMAGE names another"),
        ("localstack", "APP_TEST_AWS_IMAGE names another"),
        ("ryuk", "TESTCONTAINERS_RYUK_DISABLED=true does without it"),
    ],
)
def test_an_image_that_cannot_be_had_is_named_with_what_to_do(
    monkeypatch, answering, missing, remedy
):
    def docker(path, headers, body):
        if path == "/version":
            return 200, {}, b'{"ApiVersion": "1.44"}'
        if missing in path:  # it is not there, and the registry is out of reach
            return 404 if path.endswith("/json") else 500, {}, b'{"message": "no"}'
        return 200, {}, b'{"Id": "sha256:0"}'

    monkeypatch.setenv("DOCKER_HOST", answering(docker))
    monkeypatch.setattr("testcontainers.core.config.testcontainers_config.ryuk_disabled", False)
    found = containers.obstacle()
    assert found.startswith("Docker answers, but cannot pull ")
    assert missing in found
    assert found.endswith(f"; {remedy}")


def test_what_a_killed_run_left_waits_for_docker_without_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert containers.remove(tmp_path) is False
    gc.collect()
