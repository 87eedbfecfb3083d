"""PostgreSQL and LocalStack in containers, by Testcontainers."""

import importlib.util
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project.sandbox.services.variables import CREDENTIALS, Postgres, make_password

if TYPE_CHECKING:
    from docker.client import DockerClient

_LABEL = "files.services"  # a container's, with the folder of the services that it belongs to


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
    client = _docker()
    if client is None:
        return "Docker does not answer"
    for image in _images():
        if not _pull(client, image):
            return f"Docker answers, but cannot pull {image}"
    return None


def _docker() -> "DockerClient | None":
    """Return a client that Docker has answered."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException
    from testcontainers.core import docker_client

    try:
        client: DockerClient = docker_client.DockerClient().client
        client.ping()
    except (DockerException, RequestException, OSError):
        return None
    return client


def _images() -> list[str]:
    from testcontainers.core.config import testcontainers_config

    images = [_postgres_image(), _aws_image()]
    if not testcontainers_config.ryuk_disabled:
        images.append(testcontainers_config.ryuk_image)
    return images


def _pull(client: "DockerClient", image: str) -> bool:
    """Pull an image that Docker does not have; return whether it is there."""
    from docker.errors import DockerException, ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except DockerException:
            return False
    return True


def start(stack: ExitStack, folder: Path, keep: bool) -> tuple[Postgres, dict[str, str]]:
    """Start the containers; return the database and the endpoint of AWS."""
    from testcontainers.community.localstack import LocalStackContainer
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

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
    aws.with_services("s3", "secretsmanager", "sts", "iam")
    aws.with_envs(AUTH="true", **CREDENTIALS)  # MiniStack's, which then checks signatures
    stack.enter_context(postgres)
    stack.callback(aws.stop)
    DockerContainer.start(aws)  # its own waits for words that only LocalStack logs
    host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))
    database = Postgres(host, port, postgres.username, password, postgres.dbname)
    return database, {"AWS_ENDPOINT_URL": aws.get_url()}


def remove(folder: Path) -> bool:
    """Remove the containers of the services of a folder; return whether Docker has answered."""
    client = _docker()
    if client is None:
        return False
    for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={folder}"}):
        container.remove(force=True, v=True)
    return True
