"""The production server while S3 or the database is slow, or out."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
import urllib3
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from project import aws
from tests.servers import ASGI, WSGI, lines
from tests.tcp_proxy import TCPProxy
from tests.waiting import eventually

pytestmark = [pytest.mark.alike, pytest.mark.django_db(transaction=True)]

SERVERS = {"wsgi": WSGI, "asgi": ASGI}


class Site(NamedTuple):
    """A server, and the proxies before its services."""

    url: str
    s3: TCPProxy
    database: TCPProxy
    session: dict[str, str]

    def get(self, path: str) -> tuple[int, float]:
        """Return the status and the seconds to it; those who log in have no session."""
        start = time.monotonic()
        response = urllib3.request(
            "GET",
            self.url + path,
            headers={} if path == "/login/" else self.session,
            retries=False,
            redirect=False,
            timeout=60,
        )
        return response.status, time.monotonic() - start

    def get_at_once(self, paths: list[str]) -> list[tuple[int, float]]:
        with ThreadPoolExecutor(len(paths)) as threads:
            return list(threads.map(self.get, paths))


@pytest.fixture(scope="module")
def proxies(own_services):
    """Stand before S3 and the database."""
    s3 = urlsplit(aws.session().create_client("s3").meta.endpoint_url)
    database = connection.settings_dict
    with (
        TCPProxy(s3.hostname, s3.port) as first,
        TCPProxy(database["HOST"], database["PORT"]) as second,
    ):
        yield first, second


@pytest.fixture(params=SERVERS)
def site(request, proxies, static, serve, admin_client):
    s3, database = proxies
    url = serve(
        *SERVERS[request.param],
        AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{s3.port}",
        APP_DB_HOST="127.0.0.1",
        APP_DB_PORT=str(database.port),
        APP_DEBUG="false",
        APP_STATIC_ROOT=static,
        APP_THREADS="8",
    )
    session = {"Cookie": f"__Host-sessionid={admin_client.cookies['sessionid'].value}"}
    yield Site(url, s3, database, session)
    s3.mode = database.mode = "pass"


def comes_back(site, path, within):
    eventually(lambda: site.get(path)[0], 200, within)


def test_s3_that_hangs_stops_nothing_else(site, make_file):
    file = make_file()
    path, change = f"/files/{file.pk}/", f"/admin/files/file/{file.pk}/change/"
    assert site.get(path)[0] == site.get(change)[0] == 200
    site.s3.mode = "hang"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(site.get_at_once, [change, *[path] * 12])
        time.sleep(1)
        assert all(
            status == 200 and seconds < 1 for status, seconds in site.get_at_once(["/login/"] * 4)
        )
        answers = waiting.result()
    assert [status for status, seconds in answers] == [200] + [503] * 12
    assert max(seconds for status, seconds in answers) < 31
    status, seconds = site.get(path)
    assert (status, seconds < 0.5) == (503, True)
    site.s3.mode = "pass"
    comes_back(site, path, 2)


@pytest.mark.parametrize("mode", ["refuse", "reset", "503"])
def test_s3_that_is_out_is_503_at_once(site, make_file, mode):
    path = f"/files/{make_file().pk}/"
    site.s3.mode = mode
    answers = site.get_at_once([path] * 8)
    assert {status for status, seconds in answers} == {503}
    assert max(seconds for status, seconds in answers) < 3
    site.s3.mode = "pass"
    comes_back(site, path, 2)


def test_s3_that_is_late_each_time_is_given_up_within_30_s(site, make_file):
    file = make_file()
    site.s3.mode = "slow"
    status, seconds = site.get(f"/admin/files/file/{file.pk}/change/")
    assert (status, 3 < seconds < 31) == (200, True)
    status, seconds = site.get("/login/")
    assert (status, seconds < 1) == (200, True)


def test_a_database_that_hangs_stops_nothing_else(site, make_file):
    path = f"/files/{make_file().pk}/"
    assert site.get(path)[0] == 200
    site.database.mode = "hang"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(site.get_at_once, [path] * 12)
        time.sleep(1)
        assert all(
            status == 200 and seconds < 1 for status, seconds in site.get_at_once(["/login/"] * 4)
        )
        answers = waiting.result()
    assert {status for status, seconds in answers} == {503}
    assert max(seconds for status, seconds in answers) < 10
    status, seconds = site.get(path)
    assert (status, seconds < 0.5) == (503, True)
    refused = [line for line in lines(site.url) if line["logger"] == "project.errors"]
    assert [line["message"] for line in refused if line["message"].startswith(path)]
    assert [line for line in refused if "traceback" in line] == []
    site.database.mode = "pass"
    comes_back(site, path, 2)


def test_a_locked_table_is_503_within_10_s(site, make_file):
    path = f"/files/{make_file().pk}/"
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE files")
        answers = site.get_at_once([path] * 4 + ["/login/"])
        cursor.execute("ROLLBACK")
    assert [status for status, seconds in answers] == [503] * 4 + [200]
    assert max(seconds for status, seconds in answers) < 10
    assert site.get(path)[0] == 200


def login_form(url):
    """Return what sends the login form of a site, and returns the answer."""
    page = urllib3.request("GET", f"{url}/login/")
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.data.decode())
    own = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}

    def log_in(name, password, **headers):
        fields = {"username": name, "password": password, "csrfmiddlewaretoken": token}
        return urllib3.request(
            "POST",
            f"{url}/login/",
            body=urlencode(fields),
            headers=own | headers,
            retries=False,
            redirect=False,
            timeout=60,
        )

    return log_in


def test_logins_leave_the_machine_to_others(site, make_file, django_user_model):
    """Each takes half a second of a CPU."""
    path = f"/files/{make_file().pk}/"
    password = PBKDF2PasswordHasher().encode("s3cret", "salt")
    django_user_model.objects.create(username="somebody", password=password)
    log_in = login_form(site.url)
    with ThreadPoolExecutor(40) as threads:
        logins = threads.map(log_in, ["somebody"] * 40, ["s3cret"] * 40)
        time.sleep(0.3)
        status, seconds = site.get(path)
        assert (status, seconds < 1) == (200, True)
        statuses = Counter(answer.status for answer in logins)
    assert statuses.keys() == {302, 503}
    assert site.get(path)[0] == 200


def test_a_login_without_the_database_is_503_with_a_page(site, django_user_model):
    password = PBKDF2PasswordHasher().encode("s3cret", "salt")
    django_user_model.objects.create(username="somebody", password=password)
    log_in = login_form(site.url)
    site.database.mode = "refuse"
    answer = log_in("somebody", "s3cret", Accept="text/html")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert b"<h1>Not now</h1>" in answer.data
    site.database.mode = "pass"
    comes_back(site, "/admin/password_change/", 2)
    assert log_in("somebody", "s3cret").status == 302


# What a load balancer asks


def health(site, path):
    """Return status and body, as somebody sees them who knows no host of the site."""
    answer = urllib3.request("GET", site.url + path, headers={"Host": "any"}, timeout=10)
    return answer.status, answer.data.decode()


def test_a_site_is_ready_while_database_and_bucket_answer(site):
    assert health(site, "/healthz") == (200, "ok")
    assert health(site, "/readyz") == (200, '{"database": "ok", "bucket": "ok"}')
    site.s3.mode = "refuse"
    time.sleep(2)
    assert health(site, "/readyz") == (503, '{"database": "ok", "bucket": "out"}')
    site.database.mode = "hang"
    time.sleep(2)
    start = time.monotonic()
    assert health(site, "/readyz") == (503, '{"database": "out", "bucket": "out"}')
    assert time.monotonic() - start < 3
    assert health(site, "/healthz") == (200, "ok")
    site.s3.mode = site.database.mode = "pass"
    time.sleep(2)
    assert health(site, "/readyz") == (200, '{"database": "ok", "bucket": "ok"}')
