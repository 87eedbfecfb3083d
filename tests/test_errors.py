"""What S3 refuses and why: one table for reads and writes."""

import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError
from django.core.files.base import ContentFile

from files.storage import ArchivedError, ObjectStorage, S3Error, S3UnavailableError
from files.storage.bucket import back_off


@pytest.fixture
def refusing():
    """Start an S3 that refuses every request; return the storage on it."""
    servers = []

    def start(status, code, **headers):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # which answers boto3's question before it sends

            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                self.send_response(status)
                own = {"Connection": "close", "Content-Length": str(len(body))}
                for name, value in (headers | own).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.05]).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        return ObjectStorage(bucket_name="files", endpoint_url=endpoint, region_name="eu-north-1")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


REQUESTS = {
    "GET": lambda storage: storage.open("a key").read(),
    "HEAD": lambda storage: storage.stat("a key"),
    "PutObject": lambda storage: storage.create("a key", ContentFile(b"text")),
    "DeleteObject": lambda storage: storage.delete("a key"),
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (403, "SignatureDoesNotMatch", "the secret key is not that of the access key"),
        (403, "InvalidAccessKeyId", "S3 knows no such access key"),
        (400, "ExpiredToken", "the temporary credentials have expired"),
        (400, "InvalidToken", "the session token is not valid"),
        (400, "TokenRefreshRequired", "the session token must be renewed"),
    ],
)
def test_refused_credentials_get_an_advice_of_their_own(refusing, request_, status, code, advice):
    with pytest.raises(PermissionError, match=rf"\({code}\): {advice}") as raised:
        REQUESTS[request_](refusing(status, code))
    assert (raised.value.filename, "allow" in str(raised.value)) == ("a key", False)


@pytest.mark.parametrize(
    ("request_", "action"),
    [("GET", "s3:GetObject"), ("HEAD", "s3:GetObject"), ("PutObject", "s3:PutObject")],
)
def test_a_missing_permission_is_named(refusing, request_, action):
    with pytest.raises(PermissionError, match=f"AccessDenied.*allow {action}") as raised:
        REQUESTS[request_](refusing(403, "AccessDenied"))
    assert raised.value.filename == "a key"


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (404, "NoSuchKey", FileNotFoundError, "There is no such object in the bucket files"),
        (403, "InvalidObjectState", ArchivedError, "The object is archived: restore it in S3"),
        (403, "ObjectNotInActiveTierError", ArchivedError, "The object is archived: restore it"),
        (418, "Teapot", S3Error, "in the bucket files: 418"),
    ],
)
def test_reads_and_writes_have_the_same_errors(refusing, request_, status, code, kind, text):
    if request_ == "DeleteObject" and status == 404:  # to delete what is not there is no error
        REQUESTS[request_](refusing(status, code))
        return
    with pytest.raises(kind, match=text) as raised:
        REQUESTS[request_](refusing(status, code))
    assert (type(raised.value), raised.value.filename) == (kind, "a key")


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_may_pass_is_tried_three_times_with_the_key_in_the_error(refusing, request_, no_waits):
    with pytest.raises(S3UnavailableError, match=r"S3 fails at http://127\.0\.0\.1:\d+: 503") as e:
        REQUESTS[request_](refusing(503, "SlowDown"))
    assert e.value.filename == "a key"


@pytest.mark.parametrize("request_", REQUESTS)
def test_out_of_reach_names_the_key_and_no_more_than_the_endpoint(request_, no_waits):
    storage = ObjectStorage(bucket_name="files", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(S3UnavailableError) as raised:
        REQUESTS[request_](storage)
    error = raised.value
    assert (error.filename, error.__cause__) == ("a key", None)
    assert error.strerror.startswith("S3 is out of reach at http://127.0.0.1:9 (")


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_bucket_of_another_region_is_told(refusing, request_):
    storage = refusing(301, "PermanentRedirect", x_amz_bucket_region="eu-west-9")
    with pytest.raises(S3Error, match="the bucket files is in eu-west-9: set AWS_REGION"):
        REQUESTS[request_](storage)


def test_credentials_that_cannot_be_had_are_told_with_the_key(storage, monkeypatch):
    class Gone(Credentials):
        def get_frozen_credentials(self):
            raise NoCredentialsError

    monkeypatch.setattr(storage.objects, "_credentials", Gone("id", "secret"))
    with pytest.raises(PermissionError, match="no credentials for S3: Unable to locate") as raised:
        storage.stat("a")
    assert raised.value.filename == "a"


@pytest.mark.parametrize("kind", ["a/b\r\nx-amz-acl: private", "a/\x7f", "a/ü", "a\tb"])
def test_a_type_that_no_header_can_hold_is_refused(storage, kind):
    content = ContentFile(b"text")
    content.content_type = kind
    for write in (
        lambda: storage.create("a", content),
        lambda: storage.begin_upload("a", kind, "mark"),
    ):
        with pytest.raises(ValueError, match="has characters that no header can hold"):
            write()
    assert not storage.exists("a")


def test_the_waits_between_attempts_double_up_to_2_s(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(random, "uniform", lambda least, most: least if len(waits) % 2 else most)
    for attempt in (1, 1, 2, 3, 9):
        back_off(attempt)
    assert waits == [0.1, 0.05, 0.2, 0.2, 2]
