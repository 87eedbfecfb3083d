"""PostgreSQL and LocalStack in containers, by Testcontainers."""

import importlib.util
from contextlib import ExitStack
from typing import TYPE_CHECKING

from project.sandbox.services.environment import Postgres, make_password

if TYPE_CHECKING:
    from docker.client import DockerClient

POSTGRES_IMAGE = "postgres:17-alpine"
LOCALSTACK_IMAGE = "localstack/localstack:4.4.0"  # later ones want an account


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

    images = [POSTGRES_IMAGE, LOCALSTACK_IMAGE]
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


def start(stack: ExitStack) -> tuple[Postgres, str]:
    """Start the containers; return the database and the endpoint of AWS."""
    from testcontainers.community.localstack import LocalStackContainer
    from testcontainers.community.postgres import PostgresContainer

    password = make_password()
    postgres = PostgresContainer(
        POSTGRES_IMAGE, username="files", password=password, dbname="files", driver=None
    )
    localstack = LocalStackContainer(LOCALSTACK_IMAGE).with_services(
        "s3", "secretsmanager", "sts", "iam"
    )
    stack.enter_context(postgres)
    stack.enter_context(localstack)
    host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))
    return Postgres(host, port, postgres.username, password, postgres.dbname), localstack.get_url()
