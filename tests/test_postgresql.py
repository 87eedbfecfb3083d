"""What the backend adds to Django's: TLS, tokens of IAM, an end to the wait for a silent server."""

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection
from django.views.debug import ExceptionReporter

from project.hidden import Hidden
from project.postgresql.base import DatabaseWrapper
from project.sandbox import services
from tests.processes import manage


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for 127.0.0.1; return the paths of it and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture(scope="module")
def postgres(certificate):
    """A PostgreSQL with that certificate, which the embedded one cannot have."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("there is no PostgreSQL with TLS: Debian's package postgresql has it")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # PostgreSQL may run as another user
        names = [shutil.copy(path, folder) for path in certificate]
        for name in names:
            os.chmod(name, 0o600)
            if services.POSTGRES_USER:
                shutil.chown(name, services.POSTGRES_USER)
        yield services.start_postgres(
            stack,
            found[-1].parent,
            folder,
            ssl="on",
            ssl_cert_file=names[0],
            ssl_key_file=names[1],
        )


@pytest.fixture
def connect(postgres, django_db_blocker):
    """Connect as the settings would have it; return Django's connection."""
    made = []
    django_db_blocker.unblock()

    def connect(**options):
        own = {
            "HOST": postgres.host,
            "PORT": postgres.port,
            "NAME": postgres.dbname,
            "USER": postgres.user,
            "PASSWORD": postgres.password,
            "OPTIONS": {"connect_timeout": 5} | options,
        }
        made.append(DatabaseWrapper(connection.settings_dict | own, DEFAULT_DB_ALIAS))
        made[-1].ensure_connection()
        return made[-1]

    yield connect
    for each in made:
        each.close()
    django_db_blocker.restore()


@pytest.mark.parametrize("option", [{"PORT": 9}, {"NAME": "nothing"}])
def test_no_traceback_shows_the_password(postgres, django_db_blocker, option):
    """As in the page of Django's DEBUG, which has all variables of all frames."""
    own = {"HOST": postgres.host, "PORT": postgres.port, "USER": postgres.user}
    own |= {"PASSWORD": Hidden(postgres.password), "OPTIONS": {}} | option
    wrapper = DatabaseWrapper(connection.settings_dict | own, DEFAULT_DB_ALIAS)
    with django_db_blocker.unblock(), pytest.raises(OperationalError) as raised:
        wrapper.ensure_connection()
    error = raised.value.with_traceback(None)  # its cause has all frames but this test's own
    page = ExceptionReporter(None, raised.type, error, None).get_traceback_html()
    assert "********" in page
    assert postgres.password.split()[0] not in page  # the rest may be escaped


# TLS


def is_encrypted(wrapper):
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return cursor.fetchone()[0]


def test_the_mode_decides_about_tls(connect, certificate):
    own = {"sslrootcert": str(certificate[0])}
    assert not is_encrypted(connect(sslmode="disable"))
    assert is_encrypted(connect(sslmode="require"))
    assert is_encrypted(connect(sslmode="verify-full", **own))


def test_a_certificate_of_somebody_else_is_refused(connect):
    with pytest.raises(OperationalError, match="certificate verify failed"):
        connect(sslmode="verify-full", sslrootcert="system")


@pytest.mark.parametrize(
    ("host", "mode", "expected"),
    [
        ("127.0.0.1", "", "prefer"),
        ("db.example.com", "", "require"),
        ("db.example.com", "prefer", "prefer"),
        ("127.0.0.1", "verify-full", "verify-full"),
    ],
)
def test_tls_is_required_of_another_machine(own_services, host, mode, expected):
    code = "from django.conf import settings; o = settings.DATABASES['default']['OPTIONS']; "
    code += "print(o['sslmode'], o['sslrootcert'])"
    environ = {"APP_DB_HOST": host, "APP_DB_SSLMODE": mode, "APP_DB_SSLROOTCERT": "/etc/rds.pem"}
    done = manage("shell", "-v0", "--no-imports", "-c", code, environ=environ)
    assert done.stdout.decode() == f"{expected} /etc/rds.pem\n"


# Tokens of IAM


@pytest.fixture
def rds(certificate):
    """Be a server that takes a token by TLS, as RDS does, and lets nobody in; return its port.

    What it was sent is in the list.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    sent = []

    def serve():
        with server.accept()[0] as plain:
            plain.recv(8)  # SSLRequest
            plain.sendall(b"S")
            with context.wrap_socket(plain, server_side=True) as client:
                sent.append(client.recv(4096))  # the user and the database
                client.sendall(b"R" + struct.pack("!ii", 8, 3))  # a password, please
                sent.append(client.recv(4096))
                text = b"SFATAL\0C28000\0MPAM authentication failed\0\0"
                client.sendall(b"E" + struct.pack("!i", 4 + len(text)) + text)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], sent
        thread.join()


def test_a_token_of_iam_takes_the_place_of_the_password(rds):
    port, sent = rds
    environ = {
        "APP_DB_AUTH": "iam",
        "APP_DB_SECRET": None,
        "APP_DB_USER": "catalogue",
        "APP_DB_PORT": str(port),
        "APP_DB_HOST": "127.0.0.1",
        "APP_DB_SSLMODE": "require",
    }
    done = manage("read_file", "1", environ=environ)
    assert "PAM authentication failed" in done.stderr.decode()
    assert b"\0user\0catalogue\0" in sent[0]
    token = urlsplit(f"https://{sent[1][5:-1].decode()}")
    query = dict(parse_qsl(token.query))
    assert token.netloc == f"127.0.0.1:{port}"
    assert query["Action"] == "connect"
    assert query["DBUser"] == "catalogue"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"].endswith("/eu-central-1/rds-db/aws4_request")


def test_a_token_of_iam_is_sent_by_tls_alone():
    done = manage("check", environ={"APP_DB_AUTH": "iam", "APP_DB_SSLMODE": "prefer"})
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("APP_DB_AUTH=iam needs TLS: set APP_DB_SSLMODE=verify-full.")


# A server that says nothing


@pytest.fixture
def silence(postgres):
    """Stop the processes of the server at once, and let them go on after the test."""

    def silence():
        (pid,) = {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr[1] == postgres.port
        }
        stopped.extend([psutil.Process(pid), *psutil.Process(pid).children()])
        for process in stopped:
            process.suspend()

    stopped = []
    yield silence
    for process in stopped:
        process.resume()


def test_a_server_that_is_silent_is_given_up(connect, silence):
    """It is stopped, and so acknowledges TCP."""
    wrapper = connect(patience=1)
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.5)")
        silence()
        start = time.monotonic()
        with pytest.raises(OperationalError, match="the database has not answered for 1 s"):
            cursor.execute("SELECT 1")
    assert time.monotonic() - start < 2
    assert wrapper.connection.closed


def test_a_connection_that_the_server_has_ended_is_replaced_before_a_statement(connect):
    wrapper, other = connect(), connect()

    def end():
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", pid)

    end()
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_transaction_is_lost_with_its_connection(connect):
    wrapper, other = connect(), connect()
    wrapper.set_autocommit(False)
    with wrapper.cursor() as cursor, other.cursor() as another:
        cursor.execute("SELECT pg_backend_pid()")
        another.execute("SELECT pg_terminate_backend(%s, 5000)", cursor.fetchone())
        with pytest.raises(OperationalError):
            wrapper.cursor().execute("SELECT 1")
