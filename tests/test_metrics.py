"""Metrics for Prometheus."""

import re

import pytest
import urllib3

from tests.processes import manage
from tests.servers import ASGI, WSGI
from tests.waiting import eventually

TOKEN = "a token of the tests"
ON = {"APP_METRICS": "true", "APP_METRICS_TOKEN": TOKEN}


@pytest.fixture(params=[WSGI, ASGI], ids=["wsgi", "asgi"])
def site(request, serve):
    """Start two processes."""
    return serve(*request.param, APP_DEBUG="false", APP_WORKERS="2", **ON)


def scrape(site, token=TOKEN):
    headers = {"Authorization": f"Bearer {token}", "Host": "prometheus"}
    return urllib3.request("GET", f"{site}/metrics", headers=headers)


def values(site):
    """Return the values of the metrics by name and labels."""
    lines = scrape(site).data.decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def added(before, after):
    """Return what was added but for seconds, buckets, and this question itself."""
    return {
        name: float(value) - float(before.get(name, 0))
        for name, value in after.items()
        if value != before.get(name, "0.0")
        and not re.search(r"_bucket|_sum|_created|/metrics|route=\"\"", name)
    }


def test_metrics_are_for_who_has_the_token(site):
    assert (scrape(site).status, scrape(site, "another").status) == (200, 401)
    assert urllib3.request("GET", f"{site}/metrics").status == 401


def test_metrics_count_what_is_done(site, make_file, viewer):
    file = make_file("a.txt", b"text")
    url = f"{site}/files/{file.pk}/"
    headers = {"Cookie": f"__Host-sessionid={viewer.cookies['sessionid'].value}"}
    before = values(site)
    for _ in range(20):  # for both workers
        assert urllib3.request("GET", url, headers=headers).data == b"text"
    wanted = {
        'files_requests_total{method="GET",route="files/<int:pk>/",status="200"}': 20,
        'files_request_seconds_count{route="files/<int:pk>/"}': 20,
        'files_sent_bytes_total{route="files/<int:pk>/"}': 80,
        'files_s3_request_seconds_count{operation="GetObject",outcome="200"}': 20,
        'files_actions_total{action="download",outcome="complete"}': 20,
    }
    connects = []

    def counted():  # which is after the answer: its last byte goes first
        found = added(before, values(site))
        connects.append(found.pop('files_database_connects_total{outcome="done"}'))
        return found

    eventually(counted, wanted)
    assert 1 <= connects[-1] <= 20


def test_there_are_no_metrics_unless_they_are_switched_on(client):
    assert client.get("/metrics").status_code == 404


@pytest.mark.parametrize("token", [None, "short"])
def test_metrics_without_a_token_end_the_start(token):
    done = manage("check", environ={"APP_METRICS": "true", "APP_METRICS_TOKEN": token})
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith(
        ": APP_METRICS needs APP_METRICS_TOKEN, 16 characters or more that nobody can guess, such"
        " as `openssl rand -hex 16` prints."
    )
