"""A password that rotates while the production server works."""

import http.client
import json
import os
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
import urllib3
from django.conf import settings
from django.db import connection

from project import aws, secretsmanager
from project.postgresql import credentials
from project.postgresql.connection import Connection
from tests.processes import manage
from tests.servers import written

pytestmark = pytest.mark.django_db(transaction=True)

# The end of a session is told only where the statement comes before the server has closed.
LOST = re.compile(
    r"django\.db\.utils\.OperationalError: "
    r"(terminating connection due to|[\w ]+ failed: server closed the connection unexpectedly)"
)


class Role:
    """A user of the database, and a secret with the password."""

    def __init__(self, name):
        self.client = aws.session().create_client("secretsmanager")
        self.name = name
        self.secret_id = f"{name}/{secrets.token_hex(4)}"
        self.made = []
        self.make_user(name, "first")
        value = self.value("first")
        self.client.create_secret(Name=self.secret_id, SecretString=value)

    def make_user(self, name, password):
        owner = settings.DATABASES["default"]["USER"]
        self.made.append(name)
        execute(f'CREATE ROLE "{name}" LOGIN PASSWORD \'{password}\' IN ROLE "{owner}"')

    def set_in_database(self, password):
        """Change the password, and end all sessions of the old one."""
        execute(f"ALTER ROLE \"{self.name}\" PASSWORD '{password}'")
        self.end_sessions()

    def end_sessions(self):
        execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = ANY(%s)",
            [self.made],
        )

    def set_in_secret(self, password, stages=("AWSCURRENT",), user=None):
        self.client.put_secret_value(
            SecretId=self.secret_id,
            SecretString=self.value(password, user),
            VersionStages=list(stages),
        )

    def value(self, password, user=None):
        return json.dumps({"username": user or self.name, "password": password})

    def remove(self):
        self.end_sessions()
        for name in self.made:
            execute(f'DROP ROLE "{name}"')
        self.client.delete_secret(SecretId=self.secret_id, ForceDeleteWithoutRecovery=True)


def execute(sql, params=()):
    """Execute by a connection of its own, as another process does."""
    own = connection.get_connection_params() | {"cursor_factory": None, "autocommit": True}
    with Connection.connect(**own) as session:
        session.execute(sql, params or None)


@pytest.fixture
def role(own_services, bucket, db):
    role = Role(f"{bucket}-rotates")
    yield role
    role.remove()


class Asked(list):
    """The stages that SecretsManager was asked for, at `url`."""

    url = ""


@pytest.fixture
def asked(answering):
    """Pass requests to SecretsManager on."""
    asked = Asked()
    upstream = urlsplit(aws.session().create_client("secretsmanager").meta.endpoint_url).netloc

    def answer(path, headers, body):
        asked.append(json.loads(body)["VersionStage"])
        request = http.client.HTTPConnection(upstream, timeout=10)
        request.request("POST", path, body, dict(headers))
        response = request.getresponse()
        data = response.read()
        request.close()
        return response.status, {"Content-Type": "application/x-amz-json-1.1"}, data

    asked.url = answering(answer)
    return asked


@pytest.fixture
def environ(role, asked):
    return {
        "APP_DB_SECRET": role.secret_id,
        "APP_DB_USER": role.name,
        "APP_DEBUG": "false",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": asked.url,
    }


def load(url, headers, until, rate=50):
    """Ask for the address so many times a second until a future is done; return the statuses."""
    pool = urllib3.PoolManager(maxsize=32, retries=False)

    def ask():
        return pool.request("GET", url, headers=headers, redirect=False).status

    answers = []
    with ThreadPoolExecutor(32) as threads:
        while not until.done():
            answers.append(threads.submit(ask))
            time.sleep(1 / rate)
    return [answer.result() for answer in answers]


def rotate_secret_first(role):
    role.set_in_secret("next")
    role.set_in_database("next")


def rotate_as_aws_does(role):
    role.set_in_secret("next", ["AWSPENDING"])
    role.set_in_database("next")
    time.sleep(1)
    role.set_in_secret("next")


def rotate_role_first(role):
    role.set_in_database("next")
    time.sleep(1)
    role.set_in_secret("next")


def rotate_to_another_user(role):
    role.make_user(f"{role.name}2", "next")
    role.set_in_secret("next", user=f"{role.name}2")
    role.set_in_database("gone")


@pytest.mark.parametrize(
    ("rotate", "pool", "most"),
    [
        (rotate_secret_first, "0", 1),
        (rotate_as_aws_does, "0", 2),
        (rotate_role_first, "0", 5),
        (rotate_to_another_user, "0", 1),
        (rotate_secret_first, "4", 1),
        (rotate_role_first, "4", 5),
    ],
)
def test_no_request_fails_while_the_password_rotates(
    role, asked, environ, serve, make_file, viewer, rotate, pool, most
):
    file = make_file()
    url = serve(APP_DB_POOL=pool, **environ)
    session = {"Cookie": f"__Host-sessionid={viewer.cookies['sessionid'].value}"}

    def rotate_in_the_middle():
        time.sleep(0.5)
        del asked[:]
        rotate(role)
        time.sleep(1)

    with ThreadPoolExecutor(1) as threads:
        rotated = threads.submit(rotate_in_the_middle)
        statuses = load(f"{url}/files/{file.pk}/", session, until=rotated)
    rotated.result()
    # A statement under way is lost with its session, and nobody knows what it has done.
    log = written(url)
    lost = len(LOST.findall(log))
    failures = "\n".join(line for line in log.splitlines() if '"INFO"' not in line)
    assert statuses.count(200) == len(statuses) - lost, failures
    assert statuses.count(503) == lost < 5
    assert 1 <= len(asked) <= most
    assert "The database takes another password of the secret" in log


# What connects, without a server


@pytest.fixture
def secret(role, asked, monkeypatch):
    """The secret of the role, as a process knows it that has started with it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", asked.url)
    secretsmanager._client.cache_clear()
    yield credentials.Secret(role.secret_id, role.name, "first")
    secretsmanager._client.cache_clear()


def connect(user, password, **options):
    params = connection.get_connection_params() | {"cursor_factory": None}
    del params["credentials"]
    with Connection.connect(**params | {"user": user, "password": password} | options) as own:
        return own.info.user


@pytest.fixture
def one_connection(role):
    """Let the role have one connection only, and take it; `close` gives it back."""
    execute(f'ALTER ROLE "{role.name}" CONNECTION LIMIT 1')
    params = connection.get_connection_params() | {"cursor_factory": None}
    del params["credentials"]
    with Connection.connect(**params | {"user": role.name, "password": "first"}) as taken:
        yield taken


def test_a_web_request_waits_for_a_connection_when_all_are_taken(role, secret, one_connection):
    threading.Timer(0.5, one_connection.close).start()
    assert secret.connect(partial(connect, patience=8)) == role.name


def test_no_request_waits_long_for_a_connection_and_none_asks_for_the_secret(
    role, asked, secret, one_connection
):
    start = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        secret.connect(partial(connect, patience=8))
    assert 2 < time.monotonic() - start < 4
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        secret.connect(connect)
    assert time.monotonic() - start < 4
    assert asked == []


def test_fifty_threads_that_are_refused_at_once_ask_once(role, asked, secret):
    role.set_in_secret("next")
    role.set_in_database("next")
    with ThreadPoolExecutor(50) as threads:
        users = list(threads.map(lambda _: secret.connect(connect), range(50)))
    assert users == [role.name] * 50
    assert asked == ["AWSCURRENT"]


def test_a_secret_that_stays_wrong_is_asked_for_once_a_second(role, asked, secret):
    role.set_in_database("another")
    start = time.monotonic()

    def fail(_):
        while time.monotonic() < start + 6:
            with pytest.raises(
                psycopg.OperationalError, match=f"{role.secret_id}' says no password"
            ):
                secret.connect(connect)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fail, range(8)))
    assert 4 <= len(asked) <= time.monotonic() - start + 2


def test_a_database_that_is_down_does_not_ask(asked, secret):
    def connect_nowhere(user, password):
        return Connection.connect(host="127.0.0.1", port=9, user=user, password=password)

    with pytest.raises(psycopg.OperationalError, match="refused"):
        secret.connect(connect_nowhere)
    assert asked == []


def test_a_password_is_refused_by_one_of_several_servers_that_are_down(role, asked, secret):
    """As by one of a host's addresses, where another has no route."""
    port = connection.settings_dict["PORT"]
    role.set_in_secret("next")
    role.set_in_database("next")
    several = {"host": "127.0.0.1,127.0.0.1", "port": f"{port},9"}
    assert secret.connect(partial(connect, **several)) == role.name
    assert asked == ["AWSCURRENT"]


def test_threads_that_are_refused_do_not_wait_one_after_another_for_a_database(role, asked, secret):
    """It is gone when the other password is tried."""
    role.set_in_secret("next")
    role.set_in_database("next")
    refused, tried = threading.Barrier(8), []

    def connect_while_it_goes(user, password):
        if password == "next":
            tried.append(password)
            raise psycopg.OperationalError("connection timeout expired")
        try:
            connect(user, password)
        finally:
            refused.wait(10)

    def fail(_):
        with pytest.raises(psycopg.OperationalError):
            secret.connect(connect_while_it_goes)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fail, range(8)))
    assert (tried, asked) == (["next"], ["AWSCURRENT"])


def test_a_password_that_rotates_twice_is_taken_up(role, asked, secret):
    """A thread that waits for another one's password is refused by that too."""
    role.set_in_secret("next")
    role.set_in_database("next")
    rotated = threading.Lock()

    def connect_and_rotate(user, password):
        found = connect(user, password)
        if password == "next" and rotated.acquire(blocking=False):
            role.set_in_secret("last")
            role.set_in_database("last")
        return found

    with ThreadPoolExecutor(8) as threads:
        users = list(threads.map(lambda _: secret.connect(connect_and_rotate), range(8)))
    assert users == [role.name] * 8
    assert asked == ["AWSCURRENT"] * 2


def test_a_secretsmanager_that_hangs_is_not_asked_again_at_once(
    role, asked, answering, secret, monkeypatch
):
    """It says what is current, and hangs for AWSPENDING: each attempt ends after 2 s."""
    role.set_in_database("another")
    requests = []
    current = json.dumps({"SecretString": role.value("first")}).encode()

    def answer(path, headers, body):
        requests.append(json.loads(body)["VersionStage"])
        if requests[-1] == "AWSPENDING":
            time.sleep(3)
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, current

    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", answering(answer))
    secretsmanager._client.cache_clear()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        secret.connect(connect)
    assert requests == ["AWSCURRENT", "AWSPENDING", "AWSPENDING"]


def test_a_secretsmanager_that_fails_gives_the_old_error_and_one_line(
    role, answering, secret, monkeypatch, caplog
):
    monkeypatch.setattr(credentials, "PAUSE", credentials.PATIENCE - 1)  # which is not waited for
    role.set_in_database("another")
    requests = []
    error = b'{"__type": "AccessDeniedException", "Message": "no"}'
    url = answering(lambda *request: requests.append(request) or (400, {}, error))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    secretsmanager._client.cache_clear()
    for _ in range(20):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            secret.connect(connect)
    assert len(requests) == 1
    (record,) = caplog.records
    assert "AccessDeniedException; allow secretsmanager:GetSecretValue" in record.getMessage()


def test_a_password_that_is_current_too_early_is_not_tried_twice(role, asked, secret):
    role.set_in_secret("too early")
    tried = []

    def connect_and_note(user, password):
        tried.append(password)
        return connect(user, password)

    role.set_in_database("unknown")
    with pytest.raises(psycopg.OperationalError):
        secret.connect(connect_and_note)
    assert tried == ["first", "too early"]


def test_the_shell_gets_the_password_of_the_moment(role, environ, tmp_path):
    """psql stands here for itself: not each machine has it."""
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\nsleep 1; echo "$PGPASSWORD"\n')
    psql.chmod(0o755)
    role.set_in_secret("next", ["AWSPENDING"])
    role.set_in_database("next")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    name = connection.settings_dict["NAME"]
    done = manage("dbshell", environ=environ | {"PATH": path, "APP_DB_NAME": name})
    assert (done.stdout, done.returncode) == (b"next\n", 0)
    assert b"The database takes another password" in done.stderr
