"""PostgreSQL and LocalStack, or MiniStack, in containers, by Testcontainers."""

import gc
import importlib.util
import os
import warnings
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from project.sandbox.services.processes import ServicesError
from project.sandbox.services.variables import CREDENTIALS, Postgres, make_password, make_user

if TYPE_CHECKING:
    from docker.client import DockerClient
    from testcontainers.community.localstack import LocalStackContainer

_LABEL = "files.services"  # a container's, with the folder of the services that it belongs to
_PATIENCE = 5  # seconds that Docker gets to answer


def describe() -> str:
    """Return what is started: the images."""
    return f"{_postgres_image()}, {_aws_image()}"


def _postgres_image() -> str:
    return os.environ.get("APP_TEST_POSTGRES_IMAGE") or "postgres:17-alpine"


def _aws_image() -> str:
    # LocalStack's later images want an account.
    return os.environ.get("APP_TEST_AWS_IMAGE") or "localstack/localstack:4.4.0"


def obstacle() -> str | None:
    """Return why Testcontainers cannot run here, or None after the images have been pulled."""
    for module in ("docker", "testcontainers"):
        if importlib.util.find_spec(module) is None:
            return f"the package {module} is not installed"
    from testcontainers.core.docker_client import get_docker_host

    try:
        client = _docker()
    except OSError as error:
        at = f" at {host}" if (host := get_docker_host()) else ""
        if "Permission denied" in str(error):
            return f"Docker refuses this user{at}, who can join the group docker"
        return f"Docker does not answer{at}"
    with closing(client):
        for image, remedy in _images().items():
            if not _pull(client, image):
                return f"Docker answers, but cannot pull {image}; {remedy}"
    return None


def _docker() -> "DockerClient":
    """Return a client that Docker has answered. Raises OSError, of Docker that hangs in 5 s."""
    from docker.constants import DEFAULT_TIMEOUT_SECONDS
    from docker.errors import DockerException
    from testcontainers.core import docker_client

    try:
        client: DockerClient = docker_client.DockerClient(timeout=_PATIENCE).client
        client.ping()
    except DockerException as error:
        told = str(error)
    else:
        client.api.timeout = DEFAULT_TIMEOUT_SECONDS
        return client
    with warnings.catch_warnings():  # docker-py leaves the socket of a failed connection open
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    raise OSError(told)


def _images() -> dict[str, str]:
    """Return the images, each with what to do where it cannot be had."""
    from testcontainers.core.config import testcontainers_config

    images = {
        _postgres_image(): "APP_TEST_POSTGRES_IMAGE names another",
        _aws_image(): "APP_TEST_AWS_IMAGE names another",
    }
    if not testcontainers_config.ryuk_disabled:
        images[testcontainers_config.ryuk_image] = (
            "TESTCONTAINERS_RYUK_DISABLED=true does without it"
        )
    return images


def _pull(client: "DockerClient", image: str) -> bool:
    """Pull an image that Docker does not have; return whether it is there."""
    from docker.errors import DockerException, ImageNotFound

    try:
        try:
            client.images.get(image)
        except ImageNotFound:
            client.images.pull(image)
    except (DockerException, OSError):
        return False
    return True


def start(stack: ExitStack, folder: Path, keep: bool) -> tuple[Postgres, dict[str, str]]:
    """Start the containers; return the database and the endpoint of AWS. Raises ServicesError."""
    from testcontainers.community.localstack import LocalStackContainer
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config

    if keep:
        testcontainers_config.ryuk_disabled = True  # it removes what this process has started
    password = make_password()
    labels: Any = {"labels": {_LABEL: str(folder)}}
    postgres = PostgresContainer(
        _postgres_image(),
        username="files",
        password=password,
        dbname="files",
        driver=None,
        **labels,
    )
    aws = LocalStackContainer(_aws_image(), **labels)
    aws.with_services("s3", "secretsmanager", "sqs", "sts", "iam")
    aws.with_envs(AUTH="true", **CREDENTIALS)  # MiniStack's, which then checks signatures
    stack.enter_context(postgres)
    stack.callback(aws.stop)
    _start_aws(aws)
    host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))
    database = Postgres(host, port, postgres.username, password, postgres.dbname)
    endpoints = {"AWS_ENDPOINT_URL": aws.get_url()}
    is_ministack = urllib3.request("GET", f"{aws.get_url()}/_ministack/health").status == 200
    # LocalStack checks no secret, and takes 3 s to make a user.
    return database, endpoints | (make_user(endpoints) if is_ministack else {})


def _start_aws(aws: "LocalStackContainer") -> None:
    """Start LocalStack or MiniStack, which has LocalStack's address of health too."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    aws.waiting_for(
        HttpWaitStrategy(4566, "/_localstack/health")
        .with_startup_timeout(60)
        .with_poll_interval(0.1)
    )
    try:
        DockerContainer.start(aws)  # its own waits for words that only LocalStack logs
    except (ConnectionError, TimeoutError) as error:
        raise ServicesError(
            f"{aws.image} is up neither as LocalStack nor as MiniStack: let APP_TEST_AWS_IMAGE name"
            " an image of theirs."
        ) from error


def remove(folder: Path) -> bool:
    """Remove the containers of the services of a folder; return whether Docker has answered."""
    try:
        client = _docker()
    except OSError:
        return False
    with closing(client):
        for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={folder}"}):
            container.remove(force=True, v=True)
    return True
