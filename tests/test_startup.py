"""The start of a process: manage.py with an environment, as people and servers start it."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
from django.conf import settings
from django.contrib import admin

from files.models import File
from project import aws
from tests.processes import manage

NOTHING = {name: None for name in os.environ if name.startswith("APP_")}


@pytest.fixture
def secret(own_services):
    """Make a secret; delete it afterwards."""
    client = aws.session().create_client("secretsmanager")
    made = []

    def secret(**value):
        name = f"test/{len(made)}-{time.monotonic_ns()}"
        client.create_secret(Name=name, **value)
        made.append(name)
        return name

    yield secret
    for name in made:
        client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def fails(arguments, environ):
    """Run what must fail; return its one line on stderr."""
    done = manage(*arguments, environ=environ)
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    return line


def gives_up(variable, environ):
    """Let the variable name a server that never answers, and run what must fail.

    Return the server's address, the line on stderr, and the seconds from the first connection on.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        silent.settimeout(60)
        connected = pool.submit(lambda: (silent.accept(), time.monotonic()))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = fails(["check"], environ | {variable: url})
        (connection, _), start = connected.result()
        seconds = time.monotonic() - start
        connection.close()
    return url, line, seconds


def test_the_settings_of_this_run_come_from_the_secret(own_services):
    client = aws.session().create_client("secretsmanager")
    stored = client.get_secret_value(SecretId=os.environ["APP_DB_SECRET"])["SecretString"]
    assert settings.DATABASES["default"]["PASSWORD"] == json.loads(stored)["password"]
    assert not {"'", '"', "\\", "%", "@", " ", "ü"} - set(json.loads(stored)["password"])


@pytest.mark.django_db(transaction=True)
def test_a_process_reads_a_file_through_the_whole_startup(make_file):
    file = make_file("/root/text.txt", "grüße".encode())
    name = settings.DATABASES["default"]["NAME"]
    done = manage("read_file", str(file.pk), environ={"APP_DB_NAME": name})
    assert (done.stdout.decode(), done.stderr, done.returncode) == ("grüße", b"", 0)


@pytest.mark.django_db(transaction=True)
def test_a_secret_as_rds_writes_it_fills_what_the_environment_leaves_empty(secret, make_file):
    file = make_file("a", b"text")
    database = settings.DATABASES["default"]
    name = secret(
        SecretString=json.dumps(
            {
                "username": database["USER"],
                "password": database["PASSWORD"],
                "host": database["HOST"],
                "port": database["PORT"],
                "dbname": database["NAME"],
            }
        )
    )
    empty = dict.fromkeys(("APP_DB_NAME", "APP_DB_HOST", "APP_DB_PORT"))
    environ = {**empty, "APP_DB_SECRET": name, "APP_DB_USER": "goes with another password"}
    done = manage("read_file", str(file.pk), environ=environ)
    assert (done.stdout, done.stderr, done.returncode) == (b"text", b"", 0)


def test_all_missing_variables_are_named_at_once():
    environ = dict.fromkeys(("APP_BUCKET_NAME", "APP_DB_SECRET", "APP_DB_HOST", "APP_SECRET_KEY"))
    line = fails(["check"], environ)
    for name in environ:
        assert name in line
    assert "APP_DB_USER" not in line


def test_what_neither_environment_nor_secret_has_is_named():
    line = fails(["check"], {"APP_DB_HOST": None, "APP_DB_USER": ""})
    assert "Set APP_DB_HOST, APP_DB_USER in the environment" in line


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"SecretBinary": b"\0"}, "it is binary"),
        ({"SecretString": "s3cr3t"}, "it is not JSON"),
        ({"SecretString": '["s3cr3t"]'}, "it is not a JSON object"),
        ({"SecretString": '{"pass": "s3cr3t"}'}, "it has no password"),
        ({"SecretString": '{"password": 17}'}, "its password is not a string"),
        ({"SecretString": '{"password": ""}'}, "its password is empty"),
    ],
)
def test_a_secret_of_another_form_is_refused_without_showing_it(secret, value, problem):
    name = secret(**value)
    line = fails(["check"], {"APP_DB_SECRET": name})
    assert line.endswith(
        f"The secret {name!r} cannot be used: {problem};"
        ' store a JSON object such as {"password": "..."} in it.'
    )


def test_a_secret_that_is_not_there_is_named():
    line = fails(["check"], {"APP_DB_SECRET": "no/such"})
    assert "'no/such' cannot be used: SecretsManager says ResourceNotFoundException; check" in line


def test_no_region_is_said_so():
    line = fails(["check"], {"AWS_REGION": None, "AWS_DEFAULT_REGION": None})
    assert line.endswith("there is no AWS region; set AWS_REGION.")


@pytest.mark.parametrize("other", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_either_variable_says_the_region(other):
    done = manage("check", environ={other: None})
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_no_credentials_are_said_so():
    line = fails(["check"], {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    assert "there are no AWS credentials; set AWS_PROFILE or" in line


def test_an_unknown_profile_is_said_so():
    line = fails(["check"], {"AWS_PROFILE": "nobody"})
    assert "nobody" in line
    assert "check AWS's variables and configuration files" in line


def test_secretsmanager_that_refuses_connections_is_said_so():
    line = fails(["check"], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert "SecretsManager is out of reach at http://127.0.0.1:9" in line


def test_secretsmanager_that_never_answers_is_given_up_within_10_s():
    url, line, seconds = gives_up("AWS_ENDPOINT_URL", {})
    assert f"SecretsManager is out of reach at {url} (ReadTimeoutError)" in line
    assert seconds < 10


def test_access_denied_is_said_so(answering):
    error = b'{"__type": "AccessDeniedException", "Message": "no"}'
    url = answering(lambda *request: (400, {}, error))
    line = fails(["check"], {"AWS_ENDPOINT_URL_SECRETS_MANAGER": url})
    assert "AccessDeniedException; allow secretsmanager:GetSecretValue on it" in line


def test_a_wrong_password_is_one_sentence(secret):
    name = secret(SecretString='{"password": "wr0ng"}')
    line = fails(["read_file", "1"], {"APP_DB_SECRET": name})
    assert "The database cannot be reached" in line
    assert "wr0ng" not in line


def test_a_database_out_of_reach_is_one_sentence():
    line = fails(["migrate"], {"APP_DB_PORT": "9"})
    assert "connection" in line


@pytest.mark.parametrize(
    "command",
    [["help"], ["check"], ["makemigrations", "--check"], ["collectstatic", "--noinput", "-n"]],
)
def test_with_nothing_configured_what_needs_nothing_works(command):
    done = manage(*command, environ=NOTHING)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", [["read_file", "1"], ["migrate"], ["dbshell"]])
def test_with_nothing_configured_the_rest_says_what_to_set(command):
    line = fails(command, NOTHING)
    assert "set APP_BUCKET_NAME, APP_DB_SECRET, APP_DB_HOST, APP_DB_NAME" in line
    assert "`sandbox`" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("APP_DEBUG", "maybe"), ("APP_DB_PORT", "five"), ("APP_DELIVERY", "pigeon")],
)
def test_a_value_that_makes_no_sense_is_refused(name, value):
    line = fails(["check"], {name: value})
    assert name in line
    assert repr(value) in line


def test_a_command_loads_neither_the_pages_of_the_admin_nor_the_api():
    ours = "('files.admin', 'files.api', 'rest_framework.views')"
    code = f"import sys; print({{name for name in sys.modules if name.startswith({ours})}})"
    assert manage("shell", "-v0", "--no-imports", "-c", code).stdout == b"set()\n"


def test_the_pages_of_the_admin_pass_their_checks():
    import_module(settings.ROOT_URLCONF)  # which finds them
    assert admin.site.is_registered(File)
    assert admin.site.check(None) == []


def test_the_variables_are_the_ones_that_the_test_run_set():
    assert File.objects.db == "default"
    assert settings.STORAGES["default"]["OPTIONS"]["bucket_name"] == os.environ["APP_BUCKET_NAME"]
