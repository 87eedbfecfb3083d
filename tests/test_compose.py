"""`docker compose up`: the image, its services and nginx, as compose.yaml has them."""

import json
import os
import subprocess
from http.cookies import SimpleCookie

import pytest
import urllib3

from project.sandbox import services
from tests.processes import ROOT, wait_for

IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "NGINX_IMAGE": "nginx:1.28",
    "POSTGRES_IMAGE": "postgres:17-alpine",
    "AWS_IMAGE": "localstack/localstack:4.4.0",
}


def failure(*command):
    """Return why the command fails; nothing where it succeeds."""
    try:
        subprocess.run(command, capture_output=True, timeout=120, check=True, text=True)
    except subprocess.CalledProcessError as error:
        return f"{error}: {error.stderr}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def compose():
    """Return the command of Docker's compose; skip the test where something is missing."""
    if reason := failure("docker", "info"):
        pytest.skip(f"Docker does not answer: {reason}")
    kinds = (["docker", "compose"], ["docker-compose"])
    found = next((kind for kind in kinds if not failure(*kind, "version")), None)
    if found is None:
        pytest.skip("docker compose is not installed (Debian: docker-compose)")
    for name, default in IMAGES.items():
        image = os.environ.get(name, default)
        if failure("docker", "image", "inspect", image) and failure(
            "docker", "pull", "--quiet", image
        ):
            pytest.skip(f"there is no image {image}: {name} names another one")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Start all of it, and return its address."""
    port = services.free_port()
    network = tmp_path_factory.mktemp("compose") / "network.yaml"  # packages come by the host's
    network.write_text(json.dumps({"services": {"web": {"build": {"network": "host"}}}}))
    command = [*compose(), "--file=compose.yaml", f"--file={network}"]
    command.append(f"--project-name=files-tests-{port}")
    environ = os.environ | {"PORT": str(port), "AWS_PORT": str(services.free_port())}

    def run(*arguments):
        subprocess.run([*command, *arguments], cwd=ROOT, env=environ, timeout=600, check=True)

    try:
        run("build")  # before others ask for the image, which the first version does not see
        run("up", "--detach")
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        run("logs", "--no-color")
        run("down", "--volumes")


def cookies(answer):
    """Return what Set-Cookie says, also for cookies that clients send by TLS alone."""
    found = SimpleCookie()
    for header in answer.headers.getlist("Set-Cookie"):
        found.load(header)
    return {name: morsel.value for name, morsel in found.items()}


def post(url, kept, content_type=None, **content):
    headers = {
        "Cookie": "; ".join(f"{name}={value}" for name, value in kept.items()),
        "X-CSRFToken": kept["__Host-csrftoken"],
        **({"Content-Type": content_type} if content_type else {}),
    }
    return urllib3.request("POST", url, headers=headers, redirect=False, **content)


def test_a_file_goes_up_and_comes_down_through_all_of_it(site):
    kept = cookies(urllib3.request("GET", f"{site}/login/"))
    login = {"username": "admin", "password": "admin"}
    kept |= cookies(post(f"{site}/login/", kept, fields=login))
    uploaded = post(
        f"{site}/api/files/?key=/root/%C3%BC%20b.txt",
        kept,
        "text/plain",
        body=b"Hello from S3",
    )
    pk = uploaded.json()["id"]
    headers = {"Cookie": f"__Host-sessionid={kept['__Host-sessionid']}", "Range": "bytes=0-4"}
    answer = urllib3.request("GET", f"{site}/files/{pk}/", headers=headers)
    assert (answer.status, answer.data) == (206, b"Hello")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (answer.headers["Server"], "x-amz-request-id" in answer.headers) == ("nginx", False)
