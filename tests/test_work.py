"""Work that takes longer than a request should: it goes on, and its page shows how far it is."""

import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
import urllib3
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.db import OperationalError, connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from files import activity, background
from files.circuit import Bulkhead
from files.models import File, Operation, Work
from files.storage import S3UnavailableError, be_in_background, copying
from files.storage.circuit import circuit_of
from files.uploads import steps
from project import aws
from tests import test_uploads as uploads
from tests.operations import objects
from tests.tcp_proxy import TCPProxy
from tests.test_admin import LIST, act, history, messages
from tests.test_server import start  # noqa: F401
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

HASTY = "tests.hasty_server"  # whose requests wait but a moment for work
TOKEN = "x" * 32  # of forms, as a cookie and as a field
PATIENCE = 30  # seconds: only what never comes takes as long


class Site(NamedTuple):
    """A server, and what stands between it and S3."""

    url: str
    s3: TCPProxy
    session: str

    def ask(self, method, path, fields=None, session=None):
        return urllib3.request(
            method,
            self.url + path,
            headers=self.headers(session),
            fields=fields and {**fields, "csrfmiddlewaretoken": TOKEN},
            retries=False,
            redirect=False,
            timeout=PATIENCE,
        )

    def headers(self, session=None):
        cookies = f"__Host-sessionid={session or self.session}; __Host-csrftoken={TOKEN}"
        return {"Cookie": cookies}

    def change(self, file, what, **fields):
        """Return the address that the answer leads to, without the server's."""
        answer = self.ask("POST", f"{LIST}{file.pk}/{what}/", fields)
        assert answer.status == 302, answer.data
        return answer.headers["Location"]

    def shown(self, page):
        """Return the state that the page of the work shows, and its messages."""
        text = self.ask("GET", page).data.decode()
        (state,) = re.findall(r'role="status">(.*?)\s*</p>', text)
        return state, re.findall(r'<li class="\w+">(.*?)</li>', text)

    def ends(self, page):
        """Return what the page shows once the work has ended."""
        until(lambda: self.shown(page)[0].startswith("ended"), PATIENCE)
        return self.shown(page)


@pytest.fixture(scope="module")
def s3_proxy(own_services):
    endpoint = urlsplit(aws.session().create_client("s3").meta.endpoint_url)
    with TCPProxy(endpoint.hostname, endpoint.port) as proxy:
        yield proxy


@pytest.fixture
def environ(s3_proxy, static):
    """The environment of a server that reaches S3 through the proxy."""
    yield {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{s3_proxy.port}",
        "APP_DEBUG": "false",
        "APP_STATIC_ROOT": static,
        "APP_THREADS": "8",
    }
    s3_proxy.mode = "pass"


@pytest.fixture
def own_site(start, environ, s3_proxy, admin_client):  # noqa: F811
    """Return what starts a server for this test alone, and the server."""

    def own_site(module=HASTY, **more):
        server = start(module, **environ | more)
        url = f"http://127.0.0.1:{server.port}"
        return Site(url, s3_proxy, admin_client.cookies["sessionid"].value), server

    return own_site


@pytest.fixture
def site(serve, environ, s3_proxy, admin_client):
    url = serve(HASTY, **environ)
    yield Site(url, s3_proxy, admin_client.cookies["sessionid"].value)
    s3_proxy.mode = "pass"
    until(lambda: not Work.objects.filter(ended_at=None, seen_at__gt=now()).exists(), PATIENCE)


def now():
    return timezone.now() - timedelta(seconds=10)


def only_page():
    """Return the address of the page of the only work, as soon as there is one."""
    until(Work.objects.exists)
    return f"{LIST}work/{Work.objects.get().pk}/"


def log_in(*codenames):
    """Return the session of a user of the staff who may do no more."""
    user = User.objects.create_user("somebody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def test_a_rename_that_takes_long_has_a_page(site, make_file):
    file = make_file("a")
    site.s3.mode = "hang"
    page = site.change(file, "rename", name="b")
    assert page == only_page()
    assert site.ask("GET", page).headers["Refresh"] == "2"
    assert site.shown(page) == ("under way", [])
    site.s3.mode = "pass"
    assert site.ends(page) == ("ended", ["“b”: Renamed from a."])
    assert "Refresh" not in site.ask("GET", page).headers
    assert (str(File.objects.get()), history()) == ("b", ["Renamed from a."])


def test_a_rename_that_is_quick_has_none(own_site, make_file):
    site, file = own_site("project.server")[0], make_file("a")
    assert site.change(file, "rename", name="b") == f"{LIST}{file.pk}/change/"
    assert (str(File.objects.get()), Work.objects.get().is_told) == ("b", True)


def test_work_goes_on_when_its_client_leaves(own_site, make_file, tmp_path):
    site, _ = own_site(APP_AUDIT_FILE=str(tmp_path / "audit"))
    file = make_file("a")
    site.s3.mode = "hang"
    address = urlsplit(site.url)
    body = urlencode({"name": "b", "csrfmiddlewaretoken": TOKEN})
    request = (
        f"POST {LIST}{file.pk}/rename/ HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Cookie: {site.headers()['Cookie']}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    )
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(request.encode())
        until(Operation.objects.exists)
    page = only_page()
    assert f'<a href="{page}">Rename or move: a</a>: under way' in list_of(site)
    site.s3.mode = "pass"
    assert site.ends(page) == ("ended", ["“b”: Renamed from a."])
    assert f'<a href="{page}">Rename or move: a</a>: ended' in list_of(site)
    (line,) = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    assert (line["action"], line["outcome"], line["user"]["name"]) == ("rename", "done", "admin")


def list_of(site):
    return site.ask("GET", LIST).data.decode()


def test_the_list_shows_five_and_what_is_under_way_first(admin_client):
    user, now = User.objects.get(), timezone.now()
    for number in range(12):
        ended_at = now if number else None
        Work.objects.create(user_id=user.pk, title=f"{number}", url="/", ended_at=ended_at)
    shown = [work.title for work in admin_client.get(LIST).context["works"]]
    assert shown == ["0", "11", "10", "9", "8"]


def test_another_process_shows_it(site, own_site, make_file):
    site.s3.mode = "hang"
    page = site.change(make_file("a"), "rename", name="b")
    other, _ = own_site()
    assert other.shown(page) == ("under way", [])
    site.s3.mode = "pass"
    assert other.ends(page) == ("ended", ["“b”: Renamed from a."])


def test_work_has_a_connection_beside_the_pool_and_closes_it(own_site, make_file):
    site, _ = own_site(APP_DB_POOL="1", PGAPPNAME="pooled")
    site.s3.mode = "hang"
    page = site.change(make_file("a"), "rename", name="b")
    assert site.shown(page) == ("under way", [])
    until(lambda: sessions("pooled") == 2)  # there is one more at each moment that it is written
    site.s3.mode = "pass"
    assert site.ends(page) == ("ended", ["“b”: Renamed from a."])
    until(lambda: sessions("pooled") == 1)


def sessions(name):
    """Return how many connections of this name the database has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
        return cursor.fetchone()[0]


def test_work_is_shown_to_its_user_alone(site, make_file):
    page = f"{LIST}work/{Work.objects.create(user_id=0, title='t', url='/').pk}/"
    own = log_in("change_file", "view_file")
    assert site.ask("GET", page, session=own).status == 404
    assert site.ask("GET", page).status == 200  # a superuser
    Work.objects.update(user_id=User.objects.get(username="somebody").pk)
    assert site.ask("GET", page, session=own).status == 200
    assert site.ask("GET", page, session="x").status == 302
    Work.objects.update(ended_at=timezone.now())


def test_what_cannot_be_done_is_on_the_page(site, make_file, put):
    put("taken", b"")
    file = make_file("a")
    site.s3.mode = "hang"
    page = site.change(file, "rename", name="taken")
    site.s3.mode = "pass"
    state, (message,) = site.ends(page)
    assert (state, "not in the catalogue" in message) == ("ended, 1 failed", True)
    assert str(File.objects.get()) == "a"


@pytest.mark.parametrize("size", [3, 3 * 2**20], ids=["in memory", "in a file"])
def test_an_uploaded_content_outlives_its_request(site, make_file, size):
    file = make_file("a", b"old")
    site.s3.mode = "hang"
    page = site.change(file, "replace", content=("x", b"n" * size))
    site.s3.mode = "pass"
    assert site.ends(page)[0] == "ended"
    assert File.objects.live().get().open().read() == b"n" * size
    assert File.objects.trashed().get().read_text() == "old"


def test_a_content_is_restored_by_long_work(site, make_file):
    file = make_file("a", b"old")
    file.replace(ContentFile(b"new"))
    site.s3.mode = "hang"
    page = site.change(File.objects.trashed().get(), "restore", x="")
    site.s3.mode = "pass"
    state, (message,) = site.ends(page)
    assert (state, message.endswith("since “a” is taken.")) == ("ended", True)
    assert sorted(file.read_text() for file in File.objects.live()) == ["new", "old"]


@pytest.mark.needs("checksums")
def test_a_large_upload_is_finished_by_long_work(own_site, admin_client, make_file, monkeypatch):
    site, _ = own_site("project.server")  # which has the second answer at once
    monkeypatch.setattr(steps, "PART_SIZE", uploads.PART)
    file = make_file("big.bin", b"old")
    plan = uploads.begin(admin_client, replace=True).json()
    asked = {"ticket": plan["ticket"], "sha256": uploads.send(admin_client, plan)}
    site.s3.mode = "hang"
    answer = finish(site, asked)
    page = only_page()
    work = f"{site.url}/api/works/{Work.objects.get().pk}/"
    assert (answer.status, answer.json(), answer.headers["Location"]) == (202, {"work": work}, work)
    site.s3.mode = "pass"
    assert site.ends(page) == ("ended", ["Uploaded big.bin."])
    answer = finish(site, asked)
    assert (answer.status, answer.json()["id"]) == (201, file.pk)
    assert File.objects.live().get().open().read() == uploads.DATA
    assert history() == [
        "Replaced the content; the former one is in the trash.",
        "Another content was put under its key.",
    ]


def finish(site, asked):
    return urllib3.request(
        "POST",
        f"{site.url}/api/uploads/finish/",
        headers=site.headers() | {"X-CSRFToken": TOKEN},
        json=asked,
        timeout=PATIENCE,
    )


def select(site, action, query="", **fields):
    chosen = {"action": action, "select_across": "1", "index": "0"}
    chosen |= {"_selected_action": str(File.objects.first().pk)}
    return site.ask("POST", LIST + query, chosen | fields)


def test_hundreds_of_files_are_moved_and_counted(site, put):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: put(f"a/{number}", b"x"), range(200)))
    File.objects.bulk_create(File(object_key=f"a/{number}") for number in range(200))
    page = select(site, "move", "?folder=a/", folder="b").headers["Location"]
    told = '<a href="/admin/files/file/?folder=b%2F">Moved 200 files to “b/”.</a>'
    found = []
    while not (state := site.shown(page)[0]).startswith("ended"):
        found.append(int(re.fullmatch(r"under way, (\d+) of 200 files", state)[1]))
        time.sleep(0.2)
    assert site.shown(page) == ("ended, 200 of 200 files", [told])
    assert found == sorted(found)
    assert len(set(found)) > 1
    assert File.objects.filter(object_key__startswith="b/").count() == 200


def test_files_are_deleted_by_long_work(site, make_file, storage):
    for key in "ab":
        make_file(key).trash()
    site.s3.mode = "hang"
    page = select(site, "delete", "?state=trash", confirmed="True").headers["Location"]
    site.s3.mode = "pass"
    assert site.ends(page) == ("ended, 2 of 2 files", ["Deleted 2 files permanently."])
    assert (File.objects.exists(), objects(storage)) == (False, {})


def test_more_work_waits_for_its_turn_and_too_much_is_503(own_site, make_file):
    site, _ = own_site(APP_THREADS="4")
    files = [make_file(f"a{number}") for number in range(9)]
    site.s3.mode = "hang"

    def rename(file):
        return site.ask("POST", f"{LIST}{file.pk}/rename/", {"name": f"b{file.pk}"})

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(rename, files))
    assert sorted(answer.status for answer in answers) == [302] * 8 + [503]
    pages = [f"{LIST}work/{pk}/" for pk in Work.objects.values_list("pk", flat=True)]
    states = sorted(site.shown(page)[0] for page in pages)
    assert states == ["under way", *["waiting for its turn"] * 7]
    site.s3.mode = "pass"
    assert {site.ends(page)[0] for page in pages} == {"ended"}
    assert File.objects.filter(object_key__startswith="b").count() == 8


# The end of the process


def test_work_of_a_process_that_was_killed_can_be_asked_for_again(own_site, make_file):
    site, server = own_site("project.server")
    file = make_file("a")
    site.s3.mode = "hang"
    page = site.change(file, "rename", name="b")
    before = server.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: server.workers() and not server.workers() & before)
    Work.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))
    site.s3.mode = "pass"
    until(server.answers)
    answer = site.ask("GET", page)
    assert b"The server has ended in the middle of it: ask for it again." in answer.data
    assert (site.shown(page), answer.headers.get("Refresh")) == (("interrupted", []), None)
    assert site.change(file, "rename", name="b") == f"{LIST}{file.pk}/change/"
    assert str(File.objects.get()) == "b"


def test_sigterm_lets_work_end(own_site, make_file, storage):
    site, server = own_site()
    site.s3.mode = "hang"
    site.change(make_file("a"), "rename", name="b")
    server.process.terminate()
    with pytest.raises(TimeoutError):
        wait_for_end(server, 2)
    site.s3.mode = "pass"
    assert server.process.wait(10) == 0
    assert Work.objects.get().messages == [[25, "“b”: Renamed from a."]]
    assert (objects(storage), Operation.objects.exists()) == ({"b": b"text"}, False)


def wait_for_end(server, seconds):
    end = time.monotonic() + seconds
    while server.process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def test_work_lasts_no_longer_than_the_grace(own_site, make_file):
    site, server = own_site(APP_GRACE="1")
    site.s3.mode = "hang"
    site.change(make_file("a"), "rename", name="b")
    server.process.terminate()
    assert server.process.wait(8) == 0
    assert Work.objects.get().ended_at is None


# What it is made of


def test_a_copy_in_parts_tells_how_many_are_done(storage, put, monkeypatch):
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * 2**20)
    put("a", bytes(12 * 2**20))
    work = Work(title="", url="")
    found = []

    def copy():
        activity.watch_copies(lambda *how: (work.note_copied(*how), found.append(work.percent)))
        storage.copy("a", "b")

    copy_context().run(copy)
    assert found == [33, 66, 100]


def test_work_takes_the_place_of_no_request_at_s3(storage, put, monkeypatch):
    put("a", b"text")
    monkeypatch.setattr(Bulkhead, "threads", 2)
    found = []

    def ask():
        be_in_background()
        found.append(storage.stat("a").size)

    with circuit_of(storage.client).waiting():
        with pytest.raises(S3UnavailableError):
            storage.stat("a")
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert (found, storage.stat("a").size) == ([4], 4)


def test_s3_out_of_reach_ends_the_work_on_several_files(admin_client, make_file, unreachable):
    files = [make_file(key) for key in "abc"]
    unreachable()
    assert messages(act(admin_client, "move", *files, folder="f/")) == [
        "“a”: S3 is out of reach; try again in a moment.",
        "2 files were not tried.",
    ]


@pytest.fixture
def begin(monkeypatch):
    """Return what begins long work, which ends with the test."""

    def change(work):
        may.wait(PATIENCE)
        work.tell("Done.")

    may = threading.Event()
    monkeypatch.setattr(Bulkhead, "threads", 8)
    monkeypatch.setattr(background, "PATIENCE", 0)
    yield lambda: background.do(Work(user_id=0, title="t", url="/"), change)
    may.set()
    background.let_end(PATIENCE)
    work = Work.objects.get()
    assert (work.messages, work.is_under_way) == ([[25, "Done."]], False)


def test_a_row_that_cannot_be_made_at_once_is_made_later(begin):
    def refuse(*arguments):
        raise OperationalError("gone")

    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        begin()


def test_a_process_ends_when_the_row_is_written(begin):
    def ask():
        with pytest.raises(background.GoesOnError):
            begin()
        connection.close()

    thread = threading.Thread(target=ask, daemon=True)  # as those of runserver
    thread.start()
    thread.join()
    assert [keeper.daemon for keeper in background._keepers] == [False]


def test_a_page_tells_of_so_many_failures():
    work = Work(title="", url="")
    for number in range(101):
        work.fail(f"{number} failed")
    assert (work.failed, len(work.messages), work.messages[-1]) == (101, 100, [40, "99 failed"])


def test_work_of_last_week_is_forgotten(site, make_file):
    Work.objects.create(user_id=0, title="", url="", ended_at=timezone.now())
    Work.objects.update(seen_at=F("seen_at") - timedelta(days=7))
    site.s3.mode = "hang"
    page = site.change(make_file("a"), "rename", name="b")
    site.s3.mode = "pass"
    site.ends(page)
    assert [work.title for work in Work.objects.all()] == ["Rename or move: a"]
