"""Delivery: ranges and conditions, broken bodies, S3 out of reach, and who carries the bytes."""

import http.client
import itertools
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import urllib3
from botocore.credentials import Credentials
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from benchmarks import measure
from files.delivery.headers import content_headers, file_name
from files.models import File
from files.storage import (
    CHUNK,
    Body,
    ObjectChangedError,
    S3Error,
    S3UnavailableError,
)
from files.storage.bucket import Bucket, bucket
from files.storage.client import CONFIG
from files.storage.connections import CONNECT_TIMEOUT, READ_TIMEOUT, connections
from project import aws
from tests import location, s3_servers
from tests.faults import PATIENCE
from tests.isolation import other_sessions
from tests.processes import skip_unless
from tests.responses import closing, told
from tests.servers import ASGI, WSGI
from tests.test_views import bearer
from tests.waiting import until

pytestmark = pytest.mark.django_db

DATA = bytes(range(251)) * 40
OLD = "Mon, 01 Jan 2001 00:00:00 GMT"
NEW = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def ask(make_file, viewer):
    """Return what asks for a file of `DATA`, with `{etag}` and `{date}` filled in."""
    file = make_file("a.txt", DATA)

    def ask(method="GET", **headers):
        send = viewer.head if method == "HEAD" else viewer.get
        with closing(send(f"/files/{file.pk}/", headers=filled(headers, file))) as response:
            data = b"".join(response.streaming_content) if response.streaming else response.content
        del response.headers["X-Request-ID"]  # each has its own
        return response, data

    return ask


def filled(headers, file):
    """Return the headers with `{etag}` and `{date}` filled in, and hyphens in their names."""
    date = delivery_date(file.modified_at)
    return {
        name.replace("_", "-"): value.format(etag=file.etag, date=date)
        for name, value in headers.items()
    }


def delivery_date(moment):
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


RANGES = [
    ("bytes=0-0", 0, 0),
    ("bytes=10-19", 10, 19),
    ("bytes=10-", 10, len(DATA) - 1),
    ("bytes=-10", len(DATA) - 10, len(DATA) - 1),
    ("bytes=-99999", 0, len(DATA) - 1),
    (f"bytes=5-{10**15}", 5, len(DATA) - 1),
    ("BYTES=1-2", 1, 2),
]


@pytest.mark.parametrize(("wanted", "first", "last"), RANGES)
def test_one_range_is_206(ask, wanted, first, last):
    response, data = ask(Range=wanted)
    assert (response.status_code, data) == (206, DATA[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert response.headers["Content-Length"] == str(last + 1 - first)
    assert response.headers["Accept-Ranges"] == "bytes"


IGNORED_RANGES = ["bytes=0-1,5-6", "bytes=5-2", "bytes=a-b", "bytes=-", "bytes", "lines=1-2"]


@pytest.mark.parametrize(
    "wanted",
    [
        *IGNORED_RANGES,
        "bytes=٣-٤",
        "bytes=0-1" * 3,
        "bytes=" + ",".join(f"{n}-{n}" for n in range(5000)),
        f"bytes={'9' * 5000}-",
    ],
)
def test_several_or_malformed_ranges_are_the_whole(ask, wanted):
    response, data = ask(Range=wanted)
    assert (response.status_code, data) == (200, DATA)
    assert "Content-Range" not in response.headers


BEYOND = [f"bytes={len(DATA)}-", f"bytes={10**18}-{10**18 + 1}", "bytes=-0"]


@pytest.mark.parametrize("wanted", BEYOND)
def test_a_range_beyond_the_end_is_416(ask, wanted):
    response, data = ask(Range=wanted)
    assert (response.status_code, data) == (416, b"")
    assert response.headers["Content-Range"] == f"bytes */{len(DATA)}"
    assert response.headers["Cache-Control"] == "private, no-cache"


CONDITIONS = [
    ({"If_None_Match": "{etag}"}, 304),
    ({"If_None_Match": "W/{etag}"}, 304),
    ({"If_None_Match": "*"}, 304),
    ({"If_None_Match": '"x", W/{etag}, "y"'}, 304),
    ({"If_None_Match": '"x"'}, 200),
    ({"If_None_Match": '"x", "y"'}, 200),
    ({"If_None_Match": '"x"', "If_Modified_Since": NEW}, 200),
    ({"If_None_Match": "{etag}", "If_Modified_Since": OLD}, 304),
    ({"If_Modified_Since": "{date}"}, 304),
    ({"If_Modified_Since": OLD}, 200),
    ({"If_Modified_Since": "yesterday"}, 200),
    ({"If_Match": "{etag}"}, 200),
    ({"If_Match": "*"}, 200),
    ({"If_Match": '"x", {etag}'}, 200),
    ({"If_Match": '"x"'}, 412),
    ({"If_Match": '"x", "y"'}, 412),
    ({"If_Match": "W/{etag}"}, 412),
    ({"If_Match": "{etag}", "If_Unmodified_Since": OLD}, 200),
    ({"If_Unmodified_Since": "{date}"}, 200),
    ({"If_Unmodified_Since": OLD}, 412),
    ({"If_Match": '"x"', "If_None_Match": "{etag}"}, 412),
    ({"Range": "bytes=0-1", "If_None_Match": "{etag}"}, 304),
    ({"Range": "bytes=0-1", "If_Match": '"x"'}, 412),
    ({"Range": "bytes=0-1", "If_Range": "{etag}"}, 206),
    ({"Range": "bytes=0-1", "If_Range": "{date}"}, 206),
    ({"Range": "bytes=0-1", "If_Range": '"x"'}, 200),
    ({"Range": "bytes=0-1", "If_Range": "W/{etag}"}, 200),
    ({"Range": "bytes=0-1", "If_Range": OLD}, 200),
    ({"Range": f"bytes={len(DATA)}-", "If_Range": "{etag}"}, 416),
    ({"Range": f"bytes={len(DATA)}-", "If_Range": '"x"'}, 200),
    ({"Range": f"bytes={len(DATA)}-", "If_None_Match": "W/{etag}"}, 304),
    ({"Range": f"bytes={len(DATA)}-", "If_Match": "*"}, 416),
    ({"Range": f"bytes={len(DATA)}-", "If_Match": '"x", "y"'}, 412),
    ({"If_Range": '"x"'}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_judged_as_rfc_9110_says(ask, method, headers, status):
    response, data = ask(method, **headers)
    status = of_method(method, status)
    assert response.status_code == status
    whole = {200: DATA, 206: DATA[:2]}.get(status, b"")
    assert data == (whole if method == "GET" else b"")
    if status in {200, 206, 304}:
        assert response.headers["ETag"].strip('"')
    if status in {200, 206}:
        assert response.headers["Last-Modified"].endswith(" GMT")
        assert response.headers["Content-Length"] == str(len(whole))
    if status == 304:
        assert "Content-Type" not in response.headers


def of_method(method, status):
    """Return the status for the method: a range has a meaning for GET alone (RFC 9110, 14.2)."""
    return 200 if method == "HEAD" and status in {206, 416} else status


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-2"}, {"If_None_Match": "{etag}"}])
def test_head_is_get_without_the_body(ask, headers):
    answers = [ask(method, **headers) for method in ("GET", "HEAD")]
    (get, _), (head, data) = answers
    assert data == b""
    assert (head.status_code, dict(head.headers)) == (get.status_code, dict(get.headers))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_request_costs_one_select_and_one_call_of_the_same_method(
    make_file, viewer, proxy, method
):
    file = make_file("a.txt", DATA)
    proxy.requests.clear()
    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        closing(viewer.generic(method, f"/files/{file.pk}/")),
    ):
        pass
    assert len([query for query in queries if re.search(r'FROM "?files\b', query["sql"])]) == 1
    assert [sent for sent, headers in proxy.requests] == [method]


def test_an_empty_object_is_delivered(make_file, viewer):
    file = make_file("empty", b"")
    response = viewer.get(f"/files/{file.pk}/")
    assert (response.status_code, b"".join(response)) == (200, b"")
    assert response.headers["Content-Length"] == "0"


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-5"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("key", "stored", "sent"),
    [
        ("a.css", {"ContentEncoding": "gzip"}, "gzip"),
        ("a.css", {"ContentEncoding": "br"}, "br"),
        ("a.gz", {}, None),
        ("a.tar.gz", {}, None),
    ],
)
def test_a_stored_encoding_goes_with_the_bytes_that_are_stored(
    make_file, viewer, method, headers, key, stored, sent
):
    packed = b"\x1f\x8b\x08 not really packed"
    file = make_file(key, packed, **stored)
    with closing(viewer.generic(method, f"/files/{file.pk}/", headers=headers)) as response:
        data = b"".join(response.streaming_content) if response.streaming else response.content
    expected = packed[2:6] if headers else packed
    assert data == (expected if method == "GET" else b"")
    assert response.headers.get("Content-Encoding") == sent


def test_a_304_says_nothing_of_the_encoding(make_file, viewer):
    file = make_file("a.css", b"packed", ContentEncoding="gzip")
    response = viewer.get(f"/files/{file.pk}/", headers={"If-None-Match": file.etag})
    names = {"Content-Type", "Content-Length", "Content-Disposition", "Content-Encoding"}
    assert (response.status_code, names & set(response.headers)) == (304, set())


@pytest.mark.parametrize("way", ["stream", "redirect", "accel"])
def test_a_range_of_an_empty_object_is_416(make_file, viewer, settings, way):
    settings.DELIVERY = way
    response = viewer.get(f"/files/{make_file(data=b'').pk}/", headers={"Range": "bytes=0-"})
    assert (response.status_code, response.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize("way", ["redirect", "accel"])
def test_the_end_of_an_empty_object_is_no_business_of_clients(make_file, viewer, settings, way):
    settings.DELIVERY = way  # MiniStack has no 416 for this
    response = viewer.get(f"/files/{make_file(data=b'').pk}/", headers={"Range": "bytes=-1"})
    assert {"Location", "X-Accel-Redirect"}.isdisjoint(response.headers)


# Broken bodies

LARGE = bytes(range(253)) * 2800  # 700 kB, in several ranges and several pieces

faults = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["reset", "short"]), st.integers(0, 300_000)),
        st.tuples(st.just("status"), st.sampled_from([500, 503])),
    ),
    max_size=4,
).filter(lambda faults: [kind for kind, _ in faults].count("status") < 3)  # a request gives up
relaxed = hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def large(make_file):
    return make_file("large.bin", LARGE)


@relaxed
@given(faults=faults)
def test_an_open_file_survives_faults_at_any_byte(large, proxy, faults):
    proxy.faults[:] = faults[:2]  # a request gives up at the third refusal in a row
    with large.open() as content:
        assert content.read() == LARGE


@relaxed
@given(faults=faults)
def test_a_response_survives_faults_at_any_byte(large, viewer, proxy, faults):
    proxy.faults[:] = faults
    response = viewer.get(f"/files/{large.pk}/")
    assert b"".join(response) == LARGE


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["reset", "short", "stall"])
def test_a_range_that_breaks_is_continued_within_the_range(large, viewer, proxy, kind):
    proxy.faults[:] = [(kind, 1000), ("status", 503), (kind, 0)]
    response = viewer.get(f"/files/{large.pk}/", headers={"Range": "bytes=100-200099"})
    assert b"".join(response) == LARGE[100:200_100]
    continued = [headers.get("Range") for method, headers in proxy.requests]
    assert continued[0] == "bytes=100-200099"
    assert all(wanted.endswith("-200099") for wanted in continued)
    assert all("If-Match" in headers for method, headers in proxy.requests[1:])


def test_read_file_survives_faults(make_file, proxy, capfdbinary):
    text = "grüße\n".encode() * 100_000
    file = make_file("text", text)
    proxy.faults[:] = [("reset", 1001), ("short", 7)]
    call_command("read_file", file.pk)
    assert capfdbinary.readouterr().out == text


def test_a_body_that_breaks_on_and_on_is_given_up(large, proxy):
    proxy.faults[:] = [("short", 10)] * 20
    with large.open() as content, pytest.raises(S3UnavailableError, match="broke 6 times"):
        content.read()
    assert len(proxy.requests) == 6


def test_read_file_that_gives_up_leaves_no_file(large, proxy, tmp_path):
    proxy.faults[:] = [("short", 10)] * 20
    with pytest.raises(CommandError, match=f"File {large.pk}: The transfer broke"):
        call_command("read_file", large.pk, raw=True, output=str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_an_object_replaced_meanwhile_breaks_the_transfer(large, viewer, proxy, put, serve):
    proxy.faults[:] = [("call", 300_000)]
    proxy.on_call = lambda: put("large.bin", b"other" * 140_000)
    address = urlsplit(serve(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}"))
    client = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    cookie = f"sessionid={viewer.cookies['sessionid'].value}"
    client.request("GET", f"/files/{large.pk}/", headers={"Cookie": cookie})
    answer = client.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    assert LARGE.startswith(broken.value.partial)
    client.close()


def test_a_client_that_goes_away_ends_the_read_and_frees_the_connection(large, storage):
    answer = storage.objects.request("GET", str(large))
    body = iter(Body(storage.objects, str(large), answer))
    assert next(body)
    body.close()  # as Django does when a client is gone
    assert answer.raw.closed
    assert answer.raw.connection is None


def test_the_first_byte_comes_before_the_second_mib(make_file, viewer, proxy):
    file = make_file("stalls", bytes(4 * 2**20))
    proxy.requests.clear()
    proxy.faults[:] = [("stall", 2**20)]
    with closing(viewer.get(f"/files/{file.pk}/")) as response:
        assert next(iter(response.streaming_content)) == bytes(CHUNK)
        assert len(proxy.requests) == 1  # who waits for the second MiB asks for it again


# S3 that does not do its part


def test_s3_that_throttles_for_a_moment_is_not_noticed(large, viewer, proxy):
    proxy.faults[:] = [("status", 503), ("status", 500)]
    response = viewer.get(f"/files/{large.pk}/")
    assert b"".join(response) == LARGE


def test_s3_that_throttles_on_is_503_with_retry_after(large, viewer, proxy, caplog):
    proxy.faults[:] = [("status", 503)] * 9
    response = viewer.get(f"/files/{large.pk}/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert len(proxy.requests) == 3
    assert "S3 fails at" in caplog.text


def test_s3_out_of_reach_is_503_and_the_log_names_the_file(large, viewer, unreachable, caplog):
    unreachable()
    response = viewer.get(f"/files/{large.pk}/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert f"File {large.pk} ('large.bin'): [Errno 113] S3 is out of reach at" in caplog.text


def test_access_denied_is_502_and_the_log_names_the_permission(large, viewer, proxy, caplog):
    proxy.faults[:] = [("status", 403)]
    with caplog.at_level(logging.ERROR):
        response = viewer.get(f"/files/{large.pk}/")
    assert response.status_code == 502
    assert "allow s3:GetObject on it" in caplog.text


def test_a_range_beyond_what_s3_gives_no_size_of_is_502(make_file, viewer, proxy, caplog):
    """LocalStack answers to the key `/` as to a bucket."""
    file = make_file("a.txt", DATA)
    proxy.headers = {"Content-Length": ""}
    response = viewer.get(f"/files/{file.pk}/", headers={"Range": f"bytes={len(DATA)}-"})
    assert response.status_code == 502
    assert "this server does not keep this key" in caplog.text


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=1-"}])
def test_an_answer_about_the_bucket_is_not_delivered(make_file, viewer, proxy, caplog, asked):
    """It lists the keys: servers that fold keys give it for `/`."""
    file = make_file("a.txt", DATA)
    proxy.headers = {"ETag": ""}
    assert viewer.get(f"/files/{file.pk}/", headers=asked).status_code == 502
    assert "this server does not keep this key" in caplog.text


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_of_s3_is_not_taken_for_the_content(large, viewer, proxy, status):
    proxy.faults[:] = [("status", status)] * 2
    with (
        large.open() as content,
        pytest.raises(S3Error, match=f"S3 refuses GetObject .* {status}"),
    ):
        content.read()
    assert viewer.get(f"/files/{large.pk}/").status_code == 502


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_connection_is_used_again(large, storage, method):
    pool = storage.objects._http
    for _ in range(3):
        answer = storage.objects.request(method, str(large), {"If-None-Match": '"x"'})
        answer.raw.drain_conn()
        answer.close()
        storage.objects.request(method, str(large), {"If-None-Match": large.etag}).close()
    made = pool.num_connections
    for _ in range(3):
        storage.objects.request("HEAD", str(large)).close()
        storage.objects.request("GET", str(large), {"If-None-Match": large.etag}).close()
    assert pool.num_connections == made


def test_a_missing_bucket_is_502_and_marks_nothing(large, viewer, monkeypatch):
    missing = bucket("no-such-bucket-here")
    monkeypatch.setattr("files.storage.base.bucket", lambda *place: missing)
    assert viewer.get(f"/files/{large.pk}/").status_code == 502
    assert File.objects.get().missing_at is None


# Names


def name_in(disposition):
    """Return the name that a client reads (RFC 6266 section 4, RFC 8187 section 3.2)."""
    kind, _, parameter = disposition.partition("; ")
    assert kind in {"inline", "attachment"}
    if parameter.startswith("filename*=utf-8''"):
        return unquote(parameter.removeprefix("filename*=utf-8''"))
    found = re.fullmatch(r'filename="((?:[^"\\]|\\.)*)"', parameter)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else parameter


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@hypothesis_settings(deadline=None)
def test_nothing_is_injected_by_a_name(key):
    file = File(object_key=key, content_type="")
    disposition = content_headers(file)["Content-Disposition"]
    assert disposition.isascii()
    assert disposition.isprintable()
    assert name_in(disposition) == file_name(key)
    assert len(file_name(key).encode()) <= 255


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("folder/a.txt", "a.txt"),
        ("trail/", "trail"),
        ("/", ""),
        ('a"b\\c.txt', 'a"b\\c.txt'),
        ("a\r\nX-Evil: 1\0", "a__X-Evil: 1_"),
        ("gpj.\u202eexe", "gpj._exe"),
        ("ü" * 512, "ü" * 127),
        ("x" * 1000 + ".txt", "x" * 251 + ".txt"),
        ("x" * 900 + "." + "y" * 31, "x" * 223 + "." + "y" * 31),
        ("x" * 900 + "." + "y" * 32, "x" * 255),
    ],
)
def test_a_file_is_saved_under_the_last_part_of_its_key(key, name):
    assert file_name(key) == name


# Redirect


@pytest.fixture
def redirecting(settings):
    settings.DELIVERY = "redirect"


@pytest.mark.usefixtures("redirecting")
@pytest.mark.parametrize("key", ["/root/ü b.txt", "a//b?c#d%25", "back\\slash", " x ", "tr/"])
def test_redirect_leads_to_the_object_with_type_and_disposition(make_file, viewer, key):
    file = make_file(key, b"text", ContentType="text/html")
    response = viewer.get(f"/files/{file.pk}/?download")
    assert response.status_code == 302
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    target = response.headers["Location"]
    assert parse_qs(urlsplit(target).query)["X-Amz-Expires"] == ["60"]
    answer = urllib3.request("GET", target)
    expected = content_headers(file, attachment=True)
    assert (answer.status, answer.data) == (200, b"text")
    for name in ("Content-Type", "Content-Disposition", "Cache-Control"):
        assert answer.headers[name] == expected[name]


@pytest.mark.usefixtures("redirecting")
def test_redirect_answers_head_itself(make_file, viewer):
    """There are no bytes to carry, and not each S3 server tells HEAD the type of the URL."""
    response = viewer.head(f"/files/{make_file(data=b'text').pk}/")
    assert (response.status_code, response.headers["Content-Length"]) == (200, "4")


@pytest.mark.usefixtures("redirecting")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 302),
        ({"Range": "bytes=0-1"}, 302),
        ({"If-None-Match": '"x"'}, 302),
        ({"If-Modified-Since": OLD}, 302),
        ({"If-Range": '"x"'}, 302),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"If-None-Match": 'W/"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": NEW}, 200),
        ({"Range": "bytes=0-1,3-4"}, 200),
        ({"Range": "bytes=4-"}, 416),
    ],
)
def test_redirect_streams_what_s3_servers_judge_in_different_ways(
    make_file, viewer, headers, status
):
    with closing(viewer.get(f"/files/{make_file().pk}/", headers=headers)) as response:
        assert response.status_code == status


@pytest.mark.usefixtures("redirecting")
@pytest.mark.parametrize("key", ["a/../b", "./c", "..", "a/./b"])
def test_redirect_streams_keys_that_clients_would_rewrite(make_file, viewer, key):
    response = viewer.get(f"/files/{make_file(key, b'text').pk}/")
    assert (response.status_code, b"".join(response)) == (200, b"text")


@pytest.mark.parametrize("key", ["/root/text.txt", "a//b", "a/../b", "ünï/😀", "a+b c%25\n~*'()"])
def test_a_presigned_url_has_the_signature_that_botocore_makes(storage, key, monkeypatch):
    now = datetime.now(UTC).replace(tzinfo=None)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *a, **k: now)
    monkeypatch.setattr(time, "gmtime", lambda: now.timetuple())
    theirs = storage.client.generate_presigned_url(
        "get_object",
        Params=storage._at(key) | {"ResponseContentType": "text/plain"},
        ExpiresIn=60,
    )
    ours = storage.url(key, {"response-content-type": "text/plain"}, expire=60)
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)
    assert ours.partition("?")[0] == theirs.partition("?")[0]


def test_accel_names_the_object_to_nginx_alone(make_file, viewer, settings):
    settings.DELIVERY = "accel"
    file = make_file("a/../b.html", b"text", ContentType="application/octet-stream")
    response = viewer.get(f"/files/{file.pk}/")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["X-Accel-Redirect"] == "/-/object"
    url, _, query = response.headers["X-Object-URL"].partition("?")
    assert url == file.storage.objects.address("a/../b.html")
    assert query == "response-content-type=application%2Foctet-stream"


# Servers


def cookie(viewer):
    return {"Cookie": f"sessionid={viewer.cookies['sessionid'].value}"}


@pytest.fixture(params=["session", "token"])
def credentials(request, viewer):
    """Return the headers by which somebody comes who may view files."""
    return bearer() if request.param == "token" else cookie(viewer)


@pytest.mark.parametrize("command", [WSGI, ASGI])
def test_both_kinds_of_server_send_the_first_byte_before_they_have_the_last(
    make_file, viewer, proxy, serve, command
):
    file = make_file("stalls", bytes(4 * 2**20))
    url = serve(*command, AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    proxy.requests.clear()
    read = threading.Event()
    proxy.faults[:] = [("call", 2**20 + 10)]
    proxy.on_call = lambda: read.wait(PATIENCE)
    url = f"{url}/files/{file.pk}/"
    answer = urllib3.request("GET", url, headers=cookie(viewer), preload_content=False)
    assert answer.read(2**20) == bytes(2**20)
    assert len(proxy.requests) == 1
    read.set()
    assert answer.read() == bytes(3 * 2**20)
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("command", [WSGI, ASGI])
def test_a_304_has_no_content_length_on_the_wire(make_file, viewer, serve, command):
    file = make_file(data=b"text")
    headers = {"If-None-Match": file.etag, **cookie(viewer)}
    answer = urllib3.request("GET", f"{serve(*command)}/files/{file.pk}/", headers=headers)
    assert (answer.status, answer.headers["ETag"]) == (304, file.etag)
    assert answer.headers.get("Content-Length") in {None, "4"}


def test_asgi_keeps_no_connection_to_the_database(make_file, viewer, serve):
    file = make_file(data=b"text")
    url = f"{serve()}/files/{file.pk}/"
    with ThreadPoolExecutor(20) as clients:
        answers = clients.map(
            lambda _: urllib3.request("GET", url, headers=cookie(viewer)).status, range(60)
        )
    assert set(answers) == {200}
    assert len(other_sessions(at_most=2)) <= 2


@pytest.mark.parametrize("key", ["/root/ü b.txt", "a//b", "a/../b", "a%2Fb?c#d"])
def test_nginx_carries_the_bytes_of_every_key(make_file, viewer, nginx, key):
    file = make_file(key, DATA, ContentType="text/html")
    answer = urllib3.request("GET", f"{nginx()}/files/{file.pk}/", headers=cookie(viewer))
    assert (answer.status, answer.data) == (200, DATA)
    expected = content_headers(file)
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert answer.headers["ETag"] == file.etag
    assert [name for name in answer.headers if name.startswith(("X-A", "X-O", "x-amz"))] == []


def other_headers():
    """Return the headers that S3 sends with an object and that are not for the client."""
    model = aws.session().get_service_model("s3")
    names = {"Access-Control-Allow-Origin", "Set-Cookie", "Strict-Transport-Security", "Vary"}
    names |= {"Content-Security-Policy", "Cross-Origin-Opener-Policy", "Referrer-Policy"}
    names |= {"X-Content-Type-Options", "X-Frame-Options"}
    names |= {"x-amz-id-2", "x-amz-meta-write", "x-amz-meta-owner", "x-amz-request-id"}
    names |= {"Access-Control-Expose-Headers", "X-Unheard-Of"}
    for operation in ("GetObject", "HeadObject"):
        members = model.operation_model(operation).output_shape.members.values()
        sent = [each.serialization for each in members]
        names |= {each["name"] for each in sent if each.get("location") == "header"}
    passing = {"accept-ranges", "Content-Encoding", "Content-Length", "Content-Range"}
    return names - passing - {"Content-Type", "ETag", "Last-Modified"}


# What the client asks for, what S3 answers in place of its own, and the status.
ANSWERED = [
    ({}, None, 200),
    ({"Range": "bytes=1-2"}, None, 206),
    ({"If-None-Match": "*"}, None, 304),
    ({"If-Match": '"x"'}, None, 412),
    ({"Range": f"bytes={len(DATA)}-"}, None, 416),
    ({}, ("status", 404), 404),
    ({}, ("status", 403), 502),
    ({}, ("status", 307), 502),
    ({}, ("status", 409), 502),
    ({}, ("status", 429), 503),
    ({}, ("status", 503), 503),
]


ALWAYS = {
    *("Cache-Control", "Content-Security-Policy", "Cross-Origin-Opener-Policy"),
    *("Referrer-Policy", "Vary", "X-Content-Type-Options", "X-Frame-Options"),
}
VALIDATORS = {"Accept-Ranges", "Etag", "Last-Modified"}
BODY = {"Content-Disposition", "Content-Encoding", "Content-Length", "Content-Type"}
NAMES = {
    200: VALIDATORS | BODY,
    206: VALIDATORS | BODY | {"Content-Range"},
    304: VALIDATORS,
    404: {"Content-Length", "Content-Type"},
    412: {"Content-Length"},
    416: {"Content-Length", "Content-Range"},
    502: {"Content-Length", "Content-Type"},
    503: {"Content-Length", "Content-Type", "Retry-After"},
}


def test_nginx_answers_with_the_headers_of_the_application(
    make_file, credentials, nginx, serve, proxy
):
    file = make_file("a.css", DATA, ContentEncoding="gzip", ContentType="text/css")
    File.objects.update(size=10 * len(DATA))  # so that it is S3 that answers 416
    proxy.headers = dict.fromkeys(other_headers(), "of S3")
    endpoint = {"AWS_ENDPOINT_URL_S3": f"http://{proxy.host}"}
    streamed, carried = (
        answers(f"{start(**endpoint)}/files/{file.pk}/", credentials, proxy)
        for start in (serve, nginx)
    )
    assert carried == streamed
    assert [(status, set(headers)) for *_, status, _, headers in streamed] == [
        (status, ALWAYS | NAMES[status]) for *_, status, _, _ in streamed
    ]


def answers(url, credentials, proxy):
    """Return the answers with their headers, without those that each server makes itself."""
    found = []
    for method, (asked, fault, status) in itertools.product(["GET", "HEAD"], ANSWERED):
        proxy.faults[:] = [fault] * 3  # requests that the application makes before it gives up
        answer = urllib3.request(
            method, url, headers=asked | credentials, decode_content=False, retries=False
        )
        proxy.faults.clear()
        assert answer.status == of_method(method, status)
        headers = {name.title(): answer.headers.getlist(name) for name in answer.headers}
        for name in ("Connection", "Date", "Server", "X-Request-Id"):
            headers.pop(name, None)
        found.append((method, asked, answer.status, answer.data, headers))
    return found


def test_nginx_mixes_no_two_versions(make_file, viewer, nginx, proxy, put):
    """What was judged by the application, and replaced before nginx came, is judged again."""
    file = make_file("a.txt", DATA)
    url = nginx(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    proxy.faults[:] = [("call", 0)]
    proxy.on_call = lambda: put("a.txt", DATA[::-1])
    headers = {"Range": "bytes=10-", "If-Range": file.etag} | cookie(viewer)
    answer = urllib3.request("GET", f"{url}/files/{file.pk}/", headers=headers, retries=False)
    assert (answer.status, answer.data) == (200, DATA[::-1])


def test_nginx_tells_the_size_where_the_row_has_an_old_one(make_file, viewer, nginx, proxy):
    file = make_file("a.txt", DATA)
    File.objects.update(size=10 * len(DATA))
    url = nginx(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    headers = {"Range": f"bytes={len(DATA)}-"} | cookie(viewer)
    answer = urllib3.request("GET", f"{url}/files/{file.pk}/", headers=headers)
    assert (answer.status, answer.data) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


# The same answers in all three ways, of each S3 server

ASKED = [
    ({}, 200),
    *CONDITIONS,
    *(({"Range": wanted}, 206) for wanted, _, _ in RANGES),
    *(({"Range": wanted}, 200) for wanted in IGNORED_RANGES),
    *(({"Range": wanted}, 416) for wanted in BEYOND),
]
EXTENTS = {wanted: (first, last) for wanted, first, last in RANGES}
COMPARED = [
    *("Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Encoding"),
    *("Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified"),
]


@pytest.fixture(scope="module")
def seaweedfs():
    """Return the variables of a SeaweedFS, and a client for it."""
    with s3_servers.seaweedfs() as environ:
        found = {name: value for name, value in environ.items() if name.startswith("AWS_")}
        client = measure.s3_client(found)
        yield found, client
        client.close()


@pytest.fixture(params=["services", "seaweedfs"])
def server(request, storage):
    """Return the variables of an S3 server, and a client for it."""
    if request.param == "services":
        return {}, location.client()
    return request.getfixturevalue("seaweedfs")


@pytest.mark.parametrize("way", ["stream", "redirect", "accel"])
def test_all_ways_give_the_same_answers(credentials, serve, nginx, storage, server, way):
    environ, client = server
    bucket = {"Bucket": storage.bucket_name, "Key": "a.txt"}
    client.put_object(Body=DATA, ContentType="text/plain", ContentEncoding="gzip", **bucket)
    head = client.head_object(**bucket)
    etag, date = head["ETag"], delivery_date(head["LastModified"])
    (file,) = File.objects.bulk_create(
        [File(object_key="a.txt", size=len(DATA), etag=etag, content_type="text/plain")]
    )
    start = nginx if way == "accel" else serve
    url = f"{start(APP_DELIVERY=way, **environ)}/files/{file.pk}/"
    for method, (asked, status) in itertools.product(["GET", "HEAD"], ASKED):
        headers = {
            name.replace("_", "-"): value.format(etag=etag, date=date)
            for name, value in asked.items()
        }
        expected = expected_answer(file, method, of_method(method, status), headers, date)
        answer = urllib3.request(method, url, headers=headers | credentials, decode_content=False)
        names = COMPARED if answer.status in {200, 206} else expected[2]
        found = {name: answer.headers.get(name) for name in names}
        of_s3 = way == "redirect" and answer.status == 304
        if of_s3:  # LocalStack's has no ETag
            found["ETag"] = expected[2].get("ETag")
        assert (method, asked, answer.status, answer.data, found) == (method, asked, *expected)
        if answer.status == 304 and not of_s3:
            names = ("Content-Type", "Content-Length", "Content-Disposition", "Content-Encoding")
            assert [name for name in names if name in answer.headers] == []


def expected_answer(file, method, status, headers, date):
    """Return status, body and headers."""
    if status not in {200, 206}:
        size = f"bytes */{len(DATA)}"
        return status, b"", {304: {"ETag": file.etag}, 416: {"Content-Range": size}}.get(status, {})
    first, last = 0, len(DATA) - 1
    if status == 206:
        first, last = EXTENTS.get(headers["Range"], (0, 1))
    data = DATA[first : last + 1]
    found = content_headers(file) | {
        "Accept-Ranges": "bytes",
        "Content-Encoding": "gzip",
        "Content-Length": str(len(data)),
        "Content-Range": f"bytes {first}-{last}/{len(DATA)}" if status == 206 else None,
        "ETag": file.etag,
        "Last-Modified": date,
    }
    return status, data if method == "GET" else b"", {name: found[name] for name in COMPARED}


def test_nginx_sends_s3_no_cookie_and_answers_head(make_file, viewer, nginx, proxy):
    file = make_file("a.txt", DATA)
    url = nginx(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    proxy.requests.clear()
    answer = urllib3.request("HEAD", f"{url}/files/{file.pk}/", headers=cookie(viewer))
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(DATA)))
    ((method, headers),) = proxy.requests
    assert method == "HEAD"
    assert "Cookie" not in headers


@pytest.mark.usefixtures("viewer")
def test_nginx_sends_s3_no_token(make_file, nginx, proxy, storage):
    file, token = make_file("a.txt", DATA), bearer()
    url = f"{nginx(AWS_ENDPOINT_URL_S3=f'http://{proxy.host}')}/files/{file.pk}/"
    proxy.requests.clear()
    for asked, status in ASKED:
        headers = filled(asked | token, file)
        assert urllib3.request("GET", url, headers=headers).status == status
    kinds = {headers.get("Authorization", "").split(" ")[0] for _, headers in proxy.requests}
    assert kinds == {"AWS4-HMAC-SHA256", ""}  # of nginx, and of the application, in the URL
    storage.delete("a.txt")
    answer = urllib3.request("GET", url, headers=token)  # which nginx hands back, with its token
    assert (answer.status, told(answer)) == (404, "The content is missing.")
    assert token["Authorization"].split()[1] not in str(proxy.requests)


@pytest.mark.usefixtures("viewer")
@pytest.mark.parametrize(
    ("asked", "status", "data"),
    [
        ({}, 200, DATA),
        ({"Range": "bytes=10-19"}, 206, DATA[10:20]),
        ({"If-None-Match": "{etag}"}, 304, b""),
        ({"If-Match": '"x"'}, 412, b""),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200, DATA),
    ],
)
def test_curl_that_is_redirected_sends_s3_no_token(
    make_file, serve, proxy, tmp_path, asked, status, data
):
    skip_unless(shutil.which("curl"), "curl is not installed")
    file, token = make_file("a.txt", DATA), bearer()
    url = serve(APP_DELIVERY="redirect", AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    proxy.requests.clear()
    headers = [f"-H{name}: {value}" for name, value in filled(asked | token, file).items()]
    target = tmp_path / "out"
    target.touch()
    command = ["curl", "-sSL", "-m10", "-w%{http_code}", "-o", str(target), *headers]
    done = subprocess.run([*command, f"{url}/files/{file.pk}/"], capture_output=True, check=True)
    assert (int(done.stdout), target.read_bytes()) == (status, data)
    assert proxy.requests != []
    assert token["Authorization"].split()[1] not in str(proxy.requests)


@pytest.mark.parametrize(("upstream", "status"), [(403, 502), (401, 502), (500, 503), (503, 503)])
def test_nginx_shows_no_error_document_of_s3(make_file, viewer, nginx, proxy, upstream, status):
    file = make_file("gone")
    url = nginx(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    asked = 2 if upstream == 403 else 1  # by the application, too
    proxy.faults[:] = [("status", upstream)] * asked
    answer = urllib3.request(
        "GET", f"{url}/files/{file.pk}/", headers=cookie(viewer), retries=False
    )
    assert (answer.status, proxy.faults) == (status, [])
    assert told(answer).startswith("The content ")
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


def test_nginx_keeps_the_inner_address_to_itself(nginx):
    assert urllib3.request("GET", f"{nginx()}/-/object").status == 404


@pytest.mark.parametrize("way", ["stream", "accel"])
def test_a_missing_object_is_404_and_marked(make_file, viewer, serve, nginx, storage, way):
    file = make_file()
    storage.delete("a.txt")
    start = nginx if way == "accel" else serve
    answer = urllib3.request(
        "GET", f"{start(APP_DELIVERY=way)}/files/{file.pk}/", headers=cookie(viewer)
    )
    file.refresh_from_db()
    assert (answer.status, told(answer)) == (404, "The content is missing.")
    assert file.missing_at is not None


def test_nginx_lets_no_client_choose_who_carries_the_bytes(make_file, viewer, nginx, proxy):
    file = make_file("a.txt", DATA)
    url = nginx(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    proxy.requests.clear()
    headers = {"X-Object-Refused": "yes"} | cookie(viewer)
    answer = urllib3.request("GET", f"{url}/files/{file.pk}/", headers=headers)
    ((_, sent),) = proxy.requests
    assert (answer.data, sent.get("User-Agent")) == (DATA, None)  # nginx names none to S3


def test_nginx_takes_the_longest_key_and_token(
    make_file, viewer, settings, storage, read_from, answering, front, monkeypatch
):
    """Each byte of the key is three in a URL, and the name of the file is in a header besides."""
    file = make_file("😀" * ((1024 - len(storage.location)) // 4), DATA)
    tokens = []

    def s3(path, headers, body):
        tokens.append(headers["X-Amz-Security-Token"])
        return 200, {"ETag": '"x"'}, DATA

    read_from(answering(s3))
    settings.DELIVERY = "accel"
    monkeypatch.setattr(storage.objects, "_credentials", Credentials("id", "secret", "t" * 4096))
    told = dict(viewer.get(f"/files/{file.pk}/").headers)
    del told["Content-Length"]
    _, url = front(answering(lambda *request: (200, told, b"")))
    assert urllib3.request("GET", url, retries=False).data == DATA
    assert tokens == ["t" * 4096]


def test_nginx_logs_no_signature(make_file, viewer, nginx_with_logs):
    file = make_file("a.txt", DATA)
    folder, url = nginx_with_logs(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    headers = cookie(viewer) | bearer()
    answer = urllib3.request("GET", f"{url}/files/{file.pk}/", headers=headers, retries=False)
    requests = until(lambda: (folder / "access.log").read_text("utf-8")).casefold()
    errors = (folder / "error.log").read_text("utf-8").casefold()
    assert answer.status == 503
    assert "http://127.0.0.1:9/" in errors
    assert f"get /files/{file.pk}/ http/1.1" in requests
    for secret in ("signature", "x-amz", os.environ["AWS_ACCESS_KEY_ID"].casefold(), "bearer"):
        assert secret not in errors + requests


# Connections, credentials and time


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("GET", {"If_None_Match": "{etag}"}),
        ("GET", {"If_None_Match": "*"}),
        ("GET", {"If_Match": '"x"'}),
        ("GET", {"If_Match": '"x", "y"'}),
        ("GET", {"Range": f"bytes={len(DATA)}-"}),
        ("GET", {"Range": "bytes=0-1", "If_Range": '"x"'}),
    ],
)
def test_an_answer_gives_its_connection_back(ask, storage, method, headers):
    ask(method, **headers)
    made = storage.objects._http.num_connections
    for _ in range(3):
        ask(method, **headers)
    assert storage.objects._http.num_connections == made


def test_a_replaced_content_keeps_the_name_it_had():
    file = File(object_key=".trash/0", original_key="a/page.html", content_type="")
    found = content_headers(file)
    assert found["Content-Type"] == "text/html"
    assert found["Content-Disposition"] == 'attachment; filename="page.html"'


def test_a_browser_is_told_not_to_guess_the_type():
    found = content_headers(File(object_key="a", content_type=""))
    assert found["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("impatient")
def test_a_body_that_stalls_is_continued_in_time(large, proxy):
    read, waited = threading.Event(), []
    proxy.faults[:] = [("call", 1000)]
    proxy.on_call = lambda: waited.append(read.wait(PATIENCE))
    with large.open() as content:
        assert content.read() == LARGE
    assert waited == []  # it stalls still
    read.set()


def test_boto3_waits_no_longer_than_we_do(storage):
    config = storage.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (CONNECT_TIMEOUT, READ_TIMEOUT)


def test_no_attempt_starts_after_the_limit(large, proxy, monkeypatch):
    monkeypatch.setattr("files.storage.bucket.LAST_ATTEMPT", -1)
    proxy.faults[:] = [("status", 503)] * 3
    with large.open() as content, pytest.raises(S3UnavailableError):
        content.read()
    assert len(proxy.requests) == 1


def test_no_connection_is_tried_after_the_limit(storage, unreachable, monkeypatch):
    unreachable()
    waits = []
    monkeypatch.setattr("files.storage.bucket.back_off", waits.append)
    monkeypatch.setattr("files.storage.bucket.LAST_ATTEMPT", -1)
    with pytest.raises(S3UnavailableError):
        storage.open("a").read()
    assert waits == []


def test_objects_are_read_from_the_host_of_their_region(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for region, name, host in [
        ("eu-central-2", "bkt", "bkt.s3.eu-central-2.amazonaws.com"),
        ("eu-central-2", "dotted.bkt", "s3.eu-central-2.amazonaws.com"),
        ("cn-north-1", "bkt", "bkt.s3.cn-north-1.amazonaws.com.cn"),
    ]:
        client = aws.session().create_client("s3", region_name=region, config=CONFIG)
        url = Bucket(aws.session(), client, name).presign("GET", "a")
        assert urlsplit(url).netloc == host


def test_temporary_credentials_sign_with_their_token(storage, monkeypatch):
    monkeypatch.setattr(storage.objects, "_credentials", Credentials("id", "secret", "to/k=n+"))
    assert parse_qs(urlsplit(storage.url("a")).query)["X-Amz-Security-Token"] == ["to/k=n+"]


def test_the_certificate_of_s3_is_verified():
    assert connections(aws.session(), "https://bucket.example").cert_reqs == "CERT_REQUIRED"


def test_breaks_are_forgiven_as_the_body_goes_on(large, proxy, monkeypatch):
    monkeypatch.setattr("files.storage.body.PROGRESS", 1000)
    proxy.faults[:] = [("short", 2000)] * 20
    with large.open() as content:
        assert content.read() == LARGE


def test_an_object_deleted_while_it_is_read_has_changed(large, proxy, storage):
    proxy.faults[:] = [("call", 1000)]
    proxy.on_call = lambda: storage.delete("large.bin")
    with large.open() as content, pytest.raises(ObjectChangedError):
        content.read()
