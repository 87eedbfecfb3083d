"""Uploads in a real browser: what people choose and drop, how it goes on, what is asked."""

# ruff: noqa: F811 - fixtures

import errno
import hashlib
import os
import random
import re
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import psutil
import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.storage import default_storage
from django.core.signals import request_started
from django.db.models.signals import pre_save
from django.test import Client
from playwright.sync_api import Error, expect

from files import background, operations
from files.circuit import Bulkhead
from files.models import File, Operation, Work
from files.storage import S3UnavailableError
from files.storage.multipart import MultipartUpload
from files.uploads import steps
from tests import location, steady_chromium
from tests.test_browser import (  # noqa: F401 - fixtures, too
    LIST,
    OPTIONS,
    PART,
    PATIENCE,
    assert_conflict,
    browser,
    choose,
    errors,
    expect_rows,
    expect_states,
    keys,
    log_in,
    objects,
    open_page,
    opening,
    page,
    payload,
    production,
    wait_until_idle,
)
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def _small_parts(monkeypatch):
    monkeypatch.setattr(steps, "PART_SIZE", PART)


@pytest.fixture
def large(_small_parts, tmp_path):
    """Return a file that goes in parts, two of them."""
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(0).randbytes(PART + 1000))
    return path


def open_uploads(storage):
    found = location.client().list_multipart_uploads(Bucket=storage.bucket_name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def parts(storage):
    """Return the numbers of the parts that have arrived of all open uploads."""
    found = location.client().list_multipart_uploads(Bucket=storage.bucket_name)
    return [
        part["PartNumber"]
        for upload in found.get("Uploads", ())
        for part in location.client()
        .list_parts(Bucket=storage.bucket_name, Key=upload["Key"], UploadId=upload["UploadId"])
        .get("Parts", ())
    ]


def to_s3(page, answer):
    """Let `answer` decide what becomes of the parts that the page sends to S3."""
    endpoint = default_storage.client.meta.endpoint_url
    page.context.route(re.compile(rf"^{re.escape(endpoint)}/"), answer)


def part_number(route):
    return int(re.search(r"partNumber=(\d+)", route.request.url)[1])


def hold(page):
    """Keep the parts that the page sends to S3 from arriving; return them by their numbers."""
    held = {}
    to_s3(page, lambda route: held.update({part_number(route): route}))
    return held


def expect_held(page, held):
    """Wait until both parts of the large file are held: then the page knows its upload too."""
    eventually(lambda: page.wait_for_timeout(20) or sorted(held), [1, 2])


def rows(page):
    return page.locator("#files-upload li")


def go_on(page, path):
    """Choose the file with which the first upload that was broken off is to go on."""
    with page.expect_file_chooser() as chooser:
        rows(page).first.get_by_role("button", name="Go on").click()
    chooser.value.set_files(path)


def test_dropped_files_and_folders_are_uploaded(page, storage, tmp_path):
    contents = {"a.txt": b"a", "ü b.txt": b"", "c.bin": b"c" * 100_000, "d/e/f.txt": b"f"}
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    page.goto(f"{LIST}?folder=new/")
    browser = page.context.new_cdp_session(page)  # the one way to drop real files
    dropped = {
        "items": [],
        "files": [str(tmp_path / name) for name in ("a.txt", "ü b.txt", "c.bin", "d")],
        "dragOperationsMask": 1,
    }

    def drag(kind):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": dropped})

    panel = page.locator("#files-upload")
    before = panel.evaluate("panel => getComputedStyle(panel).backgroundColor")
    drag("dragEnter")
    drag("dragOver")
    expect(panel).not_to_have_css("background-color", before)
    drag("drop")
    expect_states(panel.locator("li"), *["done"] * 4)
    expect(panel).to_have_css("background-color", before)
    expect_rows(page, "d/", "a.txt", "c.bin", "ü b.txt")
    page.get_by_label("Select new/a.txt").check()
    expect(page.locator(".action-counter")).to_have_text("1 of 3 selected")
    found = {str(file): (file.size, file.open().read()) for file in File.objects.all()}
    assert found == {f"new/{name}": (len(data), data) for name, data in contents.items()}
    assert objects(storage) == sorted(found)


def test_progress_is_shown_while_it_goes(page, large):
    page.goto(LIST)
    held = hold(page)
    choose(page, large)
    uploading = choose(page, payload("small.txt"))
    expect_states(uploading, "running", "done")
    expect_held(page, held)
    held[1].continue_()  # all but 1,000 bytes
    expect(uploading.first.locator(".files-percent")).to_have_text("99 %")
    expect(uploading.first.get_by_role("progressbar")).to_be_visible()
    held[2].continue_()
    expect_states(uploading, "done", "done")
    assert keys() == ["large.bin", "small.txt"]


@pytest.fixture
def slow_save():
    """Let a file be saved only when it may; return the events that it is about to be, and may."""
    begun, may = threading.Event(), threading.Event()

    def wait(**about):
        begun.set()
        may.wait(PATIENCE)

    pre_save.connect(wait, sender=File)
    yield begun, may
    pre_save.disconnect(wait, sender=File)


@pytest.mark.usefixtures("unfinished_uploads")
def test_nothing_goes_on_when_the_pages_are_closed(
    browser, live_server, errors, storage, large, slow_save
):
    with opening(browser, live_server, errors) as open_page:
        page = open_page()
        page.goto(LIST)
        held = hold(page)
        choose(page, large)
        choose(page, payload("slow.txt"))
        expect_held(page, held)
        begun, may = slow_save
        assert begun.wait(PATIENCE)
        page.context.close()
        may.set()
    assert keys() == objects(storage) == ["slow.txt"]
    assert parts(storage) == []


class CountingProxy(ThreadingTCPServer):
    """Passes connections on, and counts the bytes that clients send."""

    daemon_threads = True

    def __init__(self, upstream):
        self.upstream = urlsplit(upstream)
        self.sent = 0
        super().__init__(("127.0.0.1", 0), _Passing)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()


class _Passing(BaseRequestHandler):
    def handle(self):
        upstream = socket.create_connection(
            (self.server.upstream.hostname, self.server.upstream.port)
        )
        threading.Thread(target=self.give_back, args=[upstream], daemon=True).start()
        with suppress(OSError):
            while data := self.request.recv(2**16):
                self.server.sent += len(data)
                upstream.sendall(data)
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_WR)

    def give_back(self, upstream):
        with upstream, suppress(OSError):
            while data := upstream.recv(2**16):
                self.request.sendall(data)
            self.request.shutdown(socket.SHUT_WR)


@pytest.fixture
def counting(live_server):
    with CountingProxy(live_server.url) as proxy:
        yield proxy
        proxy.shutdown()


def test_200_mib_go_to_s3_and_not_through_django(open_page, counting, storage, tmp_path):
    size, block = 200 * 2**20, random.Random(0).randbytes(2**20)
    digest = hashlib.sha256()
    with (tmp_path / "huge.bin").open("wb") as target:
        for number in range(200):
            piece = number.to_bytes(4) + block[4:]
            digest.update(piece)
            target.write(piece)
    page = open_page(url=f"http://127.0.0.1:{counting.server_address[1]}")
    page.goto(LIST)
    before = counting.sent
    uploading = choose(page, tmp_path / "huge.bin")
    expect(uploading).to_have_attribute("data-state", "done", timeout=60_000)
    assert 0 < counting.sent - before < 64 * 2**10
    file = File.objects.get()
    assert (str(file), file.size) == ("huge.bin", size)
    with file.open() as content:
        assert hashlib.file_digest(content, "sha256").digest() == digest.digest()
    assert (objects(storage), open_uploads(storage)) == (["huge.bin"], [])


def test_a_canceled_upload_leaves_nothing_and_is_tried_again(page, storage, large):
    page.goto(LIST)
    held = hold(page)
    uploading = choose(page, large)
    expect_held(page, held)
    assert open_uploads(storage) == ["large.bin"]
    uploading.get_by_role("button", name="Cancel").click()
    expect_states(uploading, "canceled")
    eventually(lambda: open_uploads(storage), [])
    assert (keys(), objects(storage)) == ([], [])
    page.context.unroute_all(behavior="ignoreErrors")
    uploading.get_by_role("button", name="Try again").click()
    expect_states(uploading, "done")
    assert File.objects.get().open().read() == large.read_bytes()
    assert open_uploads(storage) == []


@pytest.mark.parametrize("way", ["close", "go"])
def test_leaving_the_page_asks_and_then_keeps_what_is_there(page, storage, large, way):
    other = page.context.new_page()
    page.goto(LIST)
    held = hold(page)
    page.locator("#files-upload .help").click()  # browsers ask only where somebody has clicked
    choose(page, large)
    expect_held(page, held)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    if way == "close":
        page.close(run_before_unload=True)
        eventually(lambda: other.wait_for_timeout(50) or page.is_closed(), True)
    else:
        page.goto("/admin/")
    page.context.unroute_all(behavior="ignoreErrors")
    assert asked == ["beforeunload"]
    assert (keys(), open_uploads(storage)) == ([], ["large.bin"])
    other.goto(LIST)
    expect_states(rows(other), "unfinished")
    go_on(other, large)
    expect_states(rows(other), "done")
    assert File.objects.get().open().read() == large.read_bytes()


@pytest.mark.parametrize("failure", ["network", "503"])
def test_a_part_that_fails_is_sent_again(page, storage, large, errors, failure):
    page.goto(LIST)
    sent = []

    def answer(route):
        sent.append(part_number(route))
        if len(sent) > 1:
            route.continue_()
        elif failure == "network":
            route.abort()
        else:
            route.fulfill(status=503, headers={"Access-Control-Allow-Origin": "*"})

    to_s3(page, answer)
    expect_states(choose(page, large), "done")
    assert sorted(sent) == sorted([1, 2, sent[0]])
    assert File.objects.get().open().read() == large.read_bytes()
    assert [re.search(r"503|ERR_FAILED", error)[0] for error in errors] == [
        {"network": "ERR_FAILED", "503": "503"}[failure]
    ]
    errors.clear()


@pytest.fixture
def long_work(monkeypatch, slow_save):
    """Let the last step of an upload take longer than a request should."""
    monkeypatch.setattr(Bulkhead, "threads", 8)
    monkeypatch.setattr(background, "PATIENCE", 0.5)
    yield slow_save
    background.let_end(PATIENCE)


WORK = re.compile(r"/api/works/\d+/$")


def is_under_way(answer):
    """Return whether the panel is told that long work goes on."""
    return bool(WORK.search(answer.url)) and answer.ok and answer.json()["ended_at"] is None


def test_a_large_upload_waits_for_long_work(page, long_work, large, errors):
    _, may = long_work
    page.goto(LIST)
    page.route(WORK, lambda route: route.fulfill(status=503), times=1)
    with page.expect_response(is_under_way):
        uploading = choose(page, large)
    expect_states(uploading, "storing")
    expect(uploading.get_by_role("button")).to_have_count(0)
    may.set()
    expect_states(uploading, "done")
    uploading.get_by_role("link", name="large.bin").click()
    expect(page.locator("#content h1")).to_have_text("large.bin")
    assert File.objects.get().open().read() == large.read_bytes()
    assert [re.search(r"503", error)[0] for error in errors] == ["503"]
    errors.clear()


@pytest.fixture
def asked():
    """Collect the paths that the server is asked for."""
    paths = []

    def note(environ, **about):
        paths.append(environ["PATH_INFO"])

    request_started.connect(note)
    yield paths
    request_started.disconnect(note)


def test_a_large_upload_goes_on_when_the_page_is_left(page, long_work, large, storage, asked):
    begun, may = long_work
    page.goto(LIST)
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, large)
    assert begun.wait(PATIENCE)
    eventually(lambda: page.wait_for_timeout(20) or Work.objects.exists(), True)
    page.goto("/admin/")
    page.goto("/admin/password_change/")
    may.set()
    eventually(keys, ["large.bin"])
    assert open_uploads(storage) == []
    assert [path for path in asked if "abort" in path] == []


@pytest.fixture
def failing_save(long_work):
    """Let a file be saved only when it may, and then raise what is in the list."""

    def fail(**about):
        if failures:
            raise failures.pop()

    failures = []
    pre_save.connect(fail, sender=File)
    yield long_work[1], failures
    pre_save.disconnect(fail, sender=File)


def finish_long(page, file, may):
    """Begin an upload whose last step is long work; let it go on once the panel waits for it."""
    page.goto(LIST)
    with page.expect_response(is_under_way):
        uploading = choose(page, file)
    may.set()
    return uploading


def test_what_fails_in_long_work_is_shown(page, failing_save, large, storage, errors, caplog):
    may, failures = failing_save
    failures.append(OSError("The disk is full."))
    uploading = finish_long(page, large, may)
    expect_states(uploading, "failed")
    expect(uploading.locator(".files-text")).to_have_text("The disk is full.")
    assert "Upload: large.bin: The disk is full." in caplog.messages
    assert (keys(), objects(storage), open_uploads(storage)) == ([], [], [])
    assert [re.search("410", error)[0] for error in errors] == ["410"]
    errors.clear()


def test_what_s3_did_not_answer_in_long_work_is_asked_again(page, failing_save, large):
    may, failures = failing_save
    failures.append(S3UnavailableError(errno.EAGAIN, "S3 is out of reach"))
    expect_states(finish_long(page, large, may), "done")
    assert File.objects.get().open().read() == large.read_bytes()
    assert Work.objects.get().messages == [[40, "S3 is out of reach; try again in a moment."]]


def test_a_taken_name_gets_another_key_or_replaces(page, make_file, errors):
    make_file("f/a.txt", b"old")
    page.goto(f"{LIST}?folder=f/")
    uploading = choose(page, payload("a.txt"), payload("free.txt"))
    expect_states(uploading, "taken", "done")
    expect(uploading.first).to_contain_text("There is a file of this key already")
    assert File.objects.get(object_key="f/a.txt").read_text() == "old"
    page.once("dialog", lambda dialog: dialog.dismiss())
    uploading.first.get_by_role("button", name="Another key").click()
    expect_states(uploading, "taken", "done")
    page.once("dialog", lambda dialog: dialog.accept(f"{dialog.default_value}2"))
    uploading.first.get_by_role("button", name="Another key").click()
    expect_states(uploading, "done", "done")
    uploading = choose(page, payload("a.txt", b"newer"))
    expect_states(uploading, "taken", "done", "done")
    uploading.first.get_by_role("button", name="Replace").click()
    expect_states(uploading, "done", "done", "done")
    assert {str(file): file.read_text() for file in File.objects.live()} == {
        "f/a.txt": "newer",
        "f/a.txt2": "new",
        "f/free.txt": "new",
    }
    assert File.objects.trashed().get().read_text() == "old"
    assert_conflict(errors)


SEEN = ["view_file", "add_file", "replace_file", "restore_file"]
CHOICES = ["Keep both", "Another key", "Skip"]


@pytest.mark.parametrize(
    ("codenames", "links", "choices"),
    [(SEEN, ["Show that file"], ["Replace", *CHOICES]), (SEEN[:2], [], CHOICES)],
)
def test_a_key_in_the_trash_leads_there(open_page, make_file, errors, codenames, links, choices):
    file = make_file("a.txt", b"old")
    file.trash()
    page = open_page(*codenames)
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    text = uploading.locator(".files-text")
    expect(text).to_have_text(" ".join(["A file of this key is in the trash.", *links]))
    expect(uploading.get_by_role("button")).to_have_text(choices)
    addresses = [link.get_attribute("href") for link in text.get_by_role("link").all()]
    assert addresses == [f"{LIST}{file.pk}/change/" for _ in links]
    uploading.get_by_role("button", name="Keep both").click()
    expect_states(uploading, "done")
    expect(text).to_have_text("done")
    assert_conflict(errors)


@pytest.mark.parametrize("width", [375, 1280])
def test_a_long_text_stays_in_the_panel(open_page, make_file, errors, width):
    make_file("a.txt", b"old").trash()
    page = open_page(viewport={"width": width, "height": 800})
    page.goto(LIST)
    expect_states(choose(page, payload("a.txt")), "taken")
    text = "A sentence of many words, as a translation may have it. " * 5
    panel = page.locator("#files-upload")
    panel.locator(".files-text").evaluate("(element, text) => { element.textContent = text }", text)
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    assert_conflict(errors)


def test_a_lost_connection_is_told(page, storage, errors):
    page.route("**/api/uploads/", lambda route: route.abort())
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    text = "The connection was lost. It is tried again in a moment."
    expect(uploading.locator(".files-text")).to_have_text(text)
    expect(uploading.get_by_role("button")).to_have_text(["Try again", "Cancel"])
    page.unroute("**/api/uploads/")
    uploading.get_by_role("button", name="Try again").click()
    expect_states(uploading, "done")
    assert keys() == ["a.txt"]
    found = {re.search("net::ERR_FAILED|Error: network", error)[0] for error in errors}
    assert found == {"net::ERR_FAILED", "Error: network"}
    errors.clear()


def test_another_folder_keeps_the_name(page, make_file, errors):
    make_file("a.txt", b"old")
    page.goto(LIST)
    expect_states(choose(page, payload("a.txt")), "taken")
    page.once("dialog", lambda dialog: dialog.accept("images/"))
    rows(page).get_by_role("button", name="Another key").click()
    expect_states(rows(page), "done")
    assert keys() == ["a.txt", "images/a.txt"]
    assert_conflict(errors)


UNITS = ["byte", "bytes", "KB", "MB"]


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("size", [0, UNITS], "0\xa0bytes"),
        ("size", [1, UNITS], "1\xa0byte"),
        ("size", [1023, UNITS], "1,023\xa0bytes"),
        ("size", [1024, UNITS], "1.0\xa0KB"),
        ("size", [2**20 - 53, UNITS], "1,023.9\xa0KB"),
        ("size", [2**20 - 1, UNITS], "1.0\xa0MB"),
        ("size", [2**40, UNITS], "1,048,576.0\xa0MB"),
        ("duration", [0], "1 sec"),
        ("duration", [59.6], "1 min"),
        ("duration", [3569], "59 min"),
        ("duration", [3599], "1 hr"),
        ("duration", [7200], "2 hr"),
        ("numbered", ["a/b.txt", 2], "a/b (2).txt"),
        ("numbered", ["a/.env", 2], "a/.env (2)"),
        ("numbered", ["a/", 2], "a/ (2)"),
        ("numbered", ["/", 2], "/ (2)"),
    ],
)
def test_what_people_read_is_well_formed(page, name, arguments, text):
    page.goto("/login/")
    script = """async ([name, values]) =>
        (await import("/static/files/uploads/format.js"))[name](...values)"""
    assert page.evaluate(script, [name, arguments]) == text


def test_who_may_not_replace_is_not_offered_it(open_page, make_file, errors):
    make_file("a.txt", b"old")
    page = open_page("view_file", "add_file")
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    expect(uploading.get_by_role("button")).to_have_text(["Keep both", "Another key", "Skip"])
    uploading.get_by_role("button", name="Skip").click()
    expect_states(uploading, "skipped")
    expect(uploading.get_by_role("button")).to_have_count(0)
    expect(page.locator(".files-done")).to_have_text("Skipped files: 1.")
    assert File.objects.get().read_text() == "old"
    assert_conflict(errors)


def test_why_an_upload_is_not_allowed_any_more_is_shown(open_page, storage, errors):
    page = open_page("view_file", "add_file")
    page.goto(LIST)
    Permission.objects.get(codename="add_file").user_set.clear()
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    text = "You may not do this: ask an administrator for the permission."
    expect(uploading.locator(".files-text")).to_have_text(text)
    assert objects(storage) == []
    assert [re.search("403", error)[0] for error in errors] == ["403"]
    errors.clear()


def test_who_is_logged_out_logs_in_and_tries_again(page, live_server, storage, errors):
    page.goto(LIST)
    (session,) = [each for each in page.context.cookies() if each["name"] == "sessionid"]
    page.context.clear_cookies()
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    text = "You are logged out, or somebody else is logged in: log in elsewhere."
    expect(uploading.locator(".files-text")).to_contain_text(text)
    page.context.add_cookies([session])
    page.context.new_page().goto(LIST)
    uploading.get_by_role("button", name="Try again").click()
    expect_states(uploading, "done")
    assert keys() == ["a.txt"]
    assert [re.search("401", error)[0] for error in errors] == ["401"]
    errors.clear()


def test_who_is_logged_out_in_the_middle_goes_on_after_a_login(
    page, live_server, storage, large, errors, put_numbers
):
    """Nothing that has been sent is thrown away by that."""
    send_some(page, large, storage, 1)
    user = User.objects.get()
    rows(page).get_by_role("button", name="Pause").click()
    expect_states(rows(page), "paused")
    page.context.unroute_all(behavior="ignoreErrors")
    page.context.clear_cookies()
    rows(page).get_by_role("button", name="Resume").click()
    expect_states(rows(page), "failed")
    client = Client()
    client.force_login(user)
    session = {"name": "sessionid", "value": client.cookies["sessionid"].value}
    page.context.add_cookies([session | {"url": live_server.url}])
    page.context.new_page().goto(LIST)
    sent = put_numbers(page)
    rows(page).get_by_role("button", name="Try again").click()
    expect_states(rows(page), "done")
    assert sent == [2]
    assert [re.search("401", error)[0] for error in errors] == ["401"]
    errors.clear()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (429, "text/plain", "Slow down."),
        (200, "text/html", "<title>Log in</title>"),
        (408, "application/problem+json", '{"type": "urn:problem-type:files:too-slow"}'),
        (410, "application/problem+json", '{"type": "about:blank"}'),
    ],
)
def test_what_somebody_else_answers_throws_nothing_away(
    page, storage, large, errors, put_numbers, status, kind, body
):
    """A proxy, say: it is asked again, and what has been sent stays."""
    send_some(page, large, storage, 1)
    rows(page).get_by_role("button", name="Pause").click()
    expect_states(rows(page), "paused")
    page.context.unroute_all(behavior="ignoreErrors")
    asked = []

    def answer(route):
        asked.append(route.request.url)
        route.fulfill(status=status, content_type=kind, body=body)

    page.route("**/api/uploads/state/", answer)
    rows(page).get_by_role("button", name="Resume").click()
    expect_states(rows(page), "failed")
    expect(rows(page)).to_contain_text(f"The upload failed. ({status})")
    assert (len(asked), open_uploads(storage)) == (4, ["large.bin"])
    page.unroute_all(behavior="ignoreErrors")
    sent = put_numbers(page)
    rows(page).get_by_role("button", name="Try again").click()
    expect_states(rows(page), "done")
    assert (sent, keys()) == ([2], ["large.bin"])
    errors.clear()


def test_what_is_refused_for_good_begins_anew(page, make_file, storage, large, errors):
    file = make_file("large.bin", b"old")
    page.goto(LIST)
    held = hold(page)
    expect_states(choose(page, large), "taken")
    rows(page).get_by_role("button", name="Replace").click()
    expect_held(page, held)
    file.rename("other.bin")
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "failed")
    expect(rows(page)).to_contain_text("The file has been moved or deleted: begin again.")
    eventually(lambda: page.wait_for_timeout(20) or open_uploads(storage), [])
    rows(page).get_by_role("button", name="Try again").click()
    expect_states(rows(page), "done")
    assert keys() == ["large.bin", "other.bin"]
    assert sorted(re.search("400|409", error)[0] for error in errors) == ["400", "409"]
    errors.clear()


def test_a_key_that_is_taken_during_an_upload_is_asked_for(page, make_file, large, errors):
    page.goto(LIST)
    held = hold(page)
    choose(page, large)
    expect_held(page, held)
    make_file("large.bin", b"old")
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "taken")
    text = "There is a file of this key already. All of it is sent again, whatever you choose."
    expect(rows(page).locator(".files-text")).to_have_text(f"{text} Show that file")
    rows(page).get_by_role("button", name="Keep both: large.bin", exact=True).click()
    expect_states(rows(page), "done")
    assert keys() == ["large (2).bin", "large.bin"]
    assert_conflict(errors)


def test_the_modules_of_production_have_hashed_names(production):
    expect(production.locator("#files-upload")).to_be_visible()  # its script is there
    expect_states(choose(production, payload("a.txt")), "done")
    expect_rows(production, "a.txt")
    names = production.evaluate(
        """performance.getEntriesByType("resource").map(entry => entry.name)"""
    )
    modules = [name for name in names if re.search(r"/static/files/upload.*\.js$", name)]
    assert len(modules) > 2
    assert [name for name in modules if not re.search(r"\.[0-9a-f]{12}\.js$", name)] == []


# What was broken off


@pytest.fixture
def put_numbers():
    """Return what collects the numbers of the parts that a page sends to S3."""

    def collect(page):
        numbers = []
        endpoint = default_storage.client.meta.endpoint_url

        def note(request):
            if request.method == "PUT" and request.url.startswith(endpoint):
                numbers.append(int(re.search(r"partNumber=(\d+)", request.url)[1]))

        page.on("request", note)
        return numbers

    return collect


@pytest.fixture
def huge(tmp_path):
    """Return a file of 200 MiB, which goes in thirteen parts."""
    path, block = tmp_path / "huge.bin", random.Random(0).randbytes(2**20)
    with path.open("wb") as target:
        for number in range(200):
            target.write(number.to_bytes(4) + block[4:])
    return path


def send_some(page, path, storage, number):
    """Let so many parts of the file arrive, and hold the others."""
    to_s3(page, lambda route: route.continue_() if part_number(route) <= number else None)
    page.goto(LIST)
    choose(page, path)
    eventually(lambda: page.wait_for_timeout(50) or parts(storage), list(range(1, number + 1)))


def expect_rest_sent(page, path, before, after):
    """Check that the upload goes on with what S3 has not, and ends in the same file."""
    expect_states(rows(page), "done")
    assert sorted(after) == list(range(7, 14))
    assert len(before) - 6 <= 3  # that were under way, of which nothing had arrived
    file = File.objects.get()
    with file.open() as content, path.open("rb") as original:
        digests = [hashlib.file_digest(each, "sha256").digest() for each in (content, original)]
    assert (digests[0], file.size) == (digests[1], path.stat().st_size)


def test_200_mib_go_on_after_a_reload(page, storage, huge, put_numbers):
    before = put_numbers(page)
    send_some(page, huge, storage, 6)
    sent = list(before)
    page.reload()
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "unfinished")
    expect(rows(page)).to_contain_text("96.0\xa0MB of 200.0\xa0MB are there.")
    before.clear()
    go_on(page, huge)
    expect_rest_sent(page, huge, sent, before)
    page.reload()
    expect(page.locator("#files-upload")).to_be_visible()
    expect(rows(page)).to_have_count(0)


def process_of(profile):
    """Return the browser that uses the profile."""
    (found,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if f"--user-data-dir={profile}" in process.cmdline()
        and not any(argument.startswith("--type=") for argument in process.cmdline())
    )
    return found


def test_200_mib_go_on_after_a_crash_of_the_browser(
    browser, live_server, storage, huge, put_numbers, tmp_path
):
    session = {"name": "sessionid", "value": log_in(), "url": live_server.url}
    profile = tmp_path / "profile"

    def start():
        context = browser.browser_type.launch_persistent_context(
            profile,
            executable_path=steady_chromium.__file__,
            args=OPTIONS,
            base_url=live_server.url,
        )
        context.add_cookies([session])
        return context.pages[0]

    page = start()
    before = put_numbers(page)
    send_some(page, huge, storage, 6)
    process_of(profile).kill()
    with suppress(Error):
        page.context.close()
    page = start()
    after = put_numbers(page)
    page.goto(LIST)
    expect_states(rows(page), "unfinished")
    choose(page, huge)  # which is known again
    expect_rest_sent(page, huge, before, after)
    page.context.close()
    wait_until_idle(live_server)


@pytest.fixture
def broken_off(page, storage, large):
    """Return a page that shows an upload of which the first of two parts has arrived."""
    send_some(page, large, storage, 1)
    page.reload()
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "unfinished")
    return page


def in_store(page, name, change="null"):
    """Change what the browser keeps of the one upload; return how many there were."""
    return page.evaluate(
        """(name) => new Promise(resolve => {
            indexedDB.open("files-uploads").onsuccess = ({target: {result: database}}) => {
                const transaction = database.transaction(name, "readwrite");
                const store = transaction.objectStore(name);
                let number;
                store.getAll().onsuccess = ({target: {result: all}}) => {
                    const [kept] = all;
                    number = all.length;
                    CHANGE;
                };
                transaction.oncomplete = () => resolve(number);
            };
        })""".replace("CHANGE", change),
        name,
    )


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize("difference", ["name", "content", "time"])
def test_another_file_does_not_go_on(broken_off, large, tmp_path, difference):
    other = tmp_path / ("other.bin" if difference == "name" else "large.bin")
    times = large.stat().st_atime_ns, large.stat().st_mtime_ns
    data = large.read_bytes()
    other.write_bytes(b"x" + data[1:] if difference == "content" else data)
    os.utime(other, ns=times if difference != "time" else (0, 0))
    go_on(broken_off, other)
    text = "This is another file than the one that was begun: choose that one."
    expect(rows(broken_off).locator(".files-text")).to_contain_text(text)
    expect_states(rows(broken_off), "unfinished")
    assert keys() == []


@pytest.fixture
def silent_s3(monkeypatch):
    """Let S3 list no checksums of parts, as some servers do."""
    listed = MultipartUpload.listed
    names = ("PartNumber", "Size", "ETag")
    monkeypatch.setattr(
        MultipartUpload,
        "listed",
        lambda upload: [{name: part[name] for name in names} for part in listed(upload)],
    )


FORGET = "store.clear()"
MISTAKE = "store.put({...kept, digest: 'of another content'})"


@pytest.mark.parametrize(
    ("change", "there", "s3", "missing"),
    [
        pytest.param(FORGET, "0\xa0bytes", None, [2], marks=pytest.mark.needs("checksums")),
        pytest.param(MISTAKE, "5.0\xa0MB", None, [2], marks=pytest.mark.needs("checksums")),
        (FORGET, "0\xa0bytes", "silent_s3", [1, 2]),
        (MISTAKE, "5.0\xa0MB", "silent_s3", [1, 2]),
        ("null", "5.0\xa0MB", "silent_s3", [2]),
    ],
)
def test_what_s3_has_is_compared_with_the_file(
    broken_off, request, large, put_numbers, change, there, s3, missing
):
    if s3:
        request.getfixturevalue(s3)
    in_store(broken_off, "parts", change)
    broken_off.reload()
    expect(rows(broken_off)).to_contain_text(f"{there} of 5.0\xa0MB are there.")
    sent = put_numbers(broken_off)
    go_on(broken_off, large)
    expect_states(rows(broken_off), "done")
    assert sorted(sent) == missing
    assert File.objects.get().open().read() == large.read_bytes()


@pytest.fixture
def edited(page, storage, _small_parts, tmp_path):
    """Return a file whose upload was broken off, and of which a later part is another one now.

    Nothing but its bytes tells: name, size, time and first part are the same.
    """
    path = tmp_path / "edited.bin"
    data = random.Random(0).randbytes(2 * PART + 1000)
    path.write_bytes(data)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    send_some(page, path, storage, 2)
    eventually(lambda: page.wait_for_timeout(20) or in_store(page, "parts"), 2)
    page.reload()
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "unfinished")
    path.write_bytes(data[:PART] + bytes(PART) + data[2 * PART :])
    os.utime(path, ns=times)
    return path


@pytest.mark.parametrize("s3", [None, "silent_s3"])
def test_no_two_contents_are_mixed(page, edited, request, put_numbers, s3):
    if s3:
        request.getfixturevalue(s3)
    sent = put_numbers(page)
    go_on(page, edited)
    expect_states(rows(page), "done")
    assert sorted(sent) == [2, 3]
    assert File.objects.get().open().read() == edited.read_bytes()


def test_what_was_noted_of_another_content_is_forgotten(page, edited):
    """All parts that are noted are finished without the file."""
    held = hold(page)
    go_on(page, edited)
    eventually(lambda: page.wait_for_timeout(20) or sorted(held), [2, 3])
    held[3].continue_()
    eventually(lambda: page.wait_for_timeout(20) or parts(default_storage), [1, 2, 3])
    eventually(lambda: page.wait_for_timeout(20) or in_store(page, "parts"), 2)
    page.reload()
    page.context.unroute_all(behavior="ignoreErrors")
    expect_states(rows(page), "unfinished")
    go_on(page, edited)
    expect_states(rows(page), "done")
    assert File.objects.get().open().read() == edited.read_bytes()


def test_a_file_that_the_browser_reads_again_need_not_be_picked(broken_off, large):
    """It has a handle of a dropped file, too, for which it asks: nobody can answer that here."""
    broken_off.set_content("<input type=file>")
    broken_off.locator("input").set_input_files(large)
    broken_off.evaluate(
        """async () => {
            const file = document.querySelector("input").files[0];
            const folder = await navigator.storage.getDirectory();
            const handle = await folder.getFileHandle(file.name, {create: true});
            const copy = await handle.createWritable();
            await copy.write(file);
            await copy.close();
            window.again = {handle, lastModified: (await handle.getFile()).lastModified};
        }"""
    )
    in_store(broken_off, "uploads", "store.put({...kept, ...window.again})")
    broken_off.goto(LIST)
    rows(broken_off).get_by_role("button", name="Go on").click()
    expect_states(rows(broken_off), "done")
    assert File.objects.get().open().read() == large.read_bytes()


def test_an_upload_that_is_gone_begins_anew(broken_off, large, put_numbers, errors):
    operations.end(Operation.objects.get())
    sent = put_numbers(broken_off)
    held = hold(broken_off)
    go_on(broken_off, large)
    expect_held(broken_off, held)
    text = "What had been sent is gone: it begins anew."
    expect(rows(broken_off).locator(".files-text")).to_have_text(text)
    for route in held.values():
        route.continue_()
    expect_states(rows(broken_off), "done")
    assert sorted(sent) == [1, 2]
    assert [re.search("410", error)[0] for error in errors] == ["410"]
    errors.clear()


def test_an_upload_that_is_given_up_leaves_nothing(broken_off, storage):
    rows(broken_off).get_by_role("button", name="Cancel").click()
    expect_states(rows(broken_off), "canceled")
    eventually(lambda: broken_off.wait_for_timeout(20) or open_uploads(storage), [])
    broken_off.reload()
    expect(broken_off.locator("#files-upload")).to_be_visible()
    expect(rows(broken_off)).to_have_count(0)


@pytest.mark.usefixtures("unfinished_uploads")
def test_what_is_too_old_to_go_on_is_forgotten(broken_off):
    for days in (7.1, 6.9):
        since = f"Date.now() - {days} * 24 * 3600 * 1000"
        for user in ("kept.user", "0"):
            about = f"ticket: 'z{days} {user}', user: {user}, key: '{days}', since: {since}"
            in_store(broken_off, "uploads", f"store.put({{...kept, {about}}})")
    broken_off.reload()
    expect(rows(broken_off).locator(".files-name")).to_have_text(["large.bin", "6.9"])
    eventually(lambda: in_store(broken_off, "uploads"), 3)


@pytest.mark.usefixtures("unfinished_uploads")
def test_nobody_sees_what_somebody_else_has_begun(broken_off, live_server):
    session = {"name": "sessionid", "value": log_in(), "url": live_server.url}
    broken_off.context.add_cookies([session])
    user = User.objects.latest("pk").pk
    own = f"user: {user}, ticket: 'own', key: 'own.bin', since: kept.since - 1"  # shown last
    in_store(broken_off, "uploads", f"store.put({{...kept, {own}}})")
    broken_off.reload()
    expect(rows(broken_off).locator(".files-name")).to_have_text(["own.bin"])


def test_two_tabs_do_not_send_the_same_upload(broken_off, large, put_numbers):
    other = broken_off.context.new_page()
    other.goto(LIST)
    expect_states(rows(other), "unfinished")
    held = hold(broken_off)
    go_on(broken_off, large)
    eventually(lambda: broken_off.wait_for_timeout(20) or sorted(held), [2])
    third = broken_off.context.new_page()
    third.goto(LIST)
    sent = put_numbers(other)
    go_on(other, large)
    expect(rows(other).locator(".files-text")).to_contain_text("Another tab sends this file.")
    held[2].continue_()
    expect_states(rows(broken_off), "done")
    go_on(other, large)
    expect_states(rows(other), "canceled")
    expect(rows(other)).to_contain_text("It has ended in another tab.")
    expect(rows(third)).to_have_count(0)
    assert (sent, keys()) == ([], ["large.bin"])


@pytest.mark.parametrize("what", ["missing", "full"])
def test_uploads_need_no_memory_of_the_browser(page, large, what):
    script = {
        "missing": "delete window.indexedDB; window.indexedDB = undefined",
        "full": """IDBObjectStore.prototype.put = () => {
            throw new DOMException("", "QuotaExceededError");
        }""",
    }
    page.add_init_script(script[what])
    page.goto(LIST)
    expect_states(choose(page, large), "done")
    assert File.objects.get().open().read() == large.read_bytes()


def test_the_last_step_is_taken_again_after_a_reload(page, long_work, large, errors):
    begun, may = long_work
    page.goto(LIST)
    choose(page, large)
    assert begun.wait(PATIENCE)
    eventually(lambda: page.wait_for_timeout(20) or Work.objects.exists(), True)
    page.reload()
    may.set()
    expect_states(rows(page), "done")
    link = rows(page).get_by_role("link", name="large.bin")
    expect(link).to_have_attribute("href", f"{LIST}{File.objects.get().pk}/change/")
    assert all("409 (Conflict)" in error for error in errors)  # while the first one is under way
    errors.clear()


# What people do meanwhile


def test_an_upload_pauses_and_resumes(page, storage, large, put_numbers):
    sent = put_numbers(page)
    send_some(page, large, storage, 1)
    rows(page).get_by_role("button", name="Pause").click()
    expect_states(rows(page), "paused")
    expect(rows(page).get_by_role("button", name="Resume")).to_be_focused()
    page.context.unroute_all(behavior="ignoreErrors")
    assert (sorted(sent), parts(storage)) == ([1, 2], [1])
    sent.clear()
    page.keyboard.press("Enter")
    expect_states(rows(page), "done")
    assert sent == [2]
    assert File.objects.get().open().read() == large.read_bytes()


def test_what_has_not_arrived_before_a_pause_is_not_counted(page, storage, large):
    page.goto(LIST)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2**20}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    uploading = choose(page, large)
    bar = uploading.get_by_role("progressbar")
    eventually(lambda: page.wait_for_timeout(20) or bar.evaluate("bar => bar.value > 0.1"), True)
    uploading.get_by_role("button", name="Pause").click()
    expect_states(uploading, "paused")
    arrived = bar.evaluate("bar => bar.value")
    assert arrived in {0, 1000 / (PART + 1000)}  # a part, or none
    uploading.get_by_role("button", name="Cancel").click()
    eventually(lambda: page.wait_for_timeout(20) or open_uploads(storage), [])


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (["paused"], "5.0\xa0MB of 10.0\xa0MB, files: 0 of 1"),
        (
            ["paused", "running", "failed"],
            "10.0\xa0MB of 20.0\xa0MB, files: 0 of 2 · 1.0\xa0MB/s · 5 sec left",
        ),
    ],
)
def test_what_is_paused_takes_no_time(page, states, text):
    page.goto(LIST)
    script = """async (states) => {
        const { totals } = await import("/static/files/uploads/totals.js");
        const config = JSON.parse(document.querySelector("#files-upload-config").textContent);
        const uploads = states.map((state) => (
            { isCounted: true, state, size: 10 * 2**20, loaded: 5 * 2**20 }
        ));
        return totals(uploads, { speed: () => 2**20 }, config).text;
    }"""
    assert page.evaluate(script, states) == text


def test_the_total_is_told_while_it_goes(page, large):
    page.goto(LIST)
    held = hold(page)
    choose(page, large)
    choose(page, payload("small.txt", b"x" * 1024))
    expect_held(page, held)
    held[1].continue_()
    assert page.locator("#files-upload [role=status]").all_inner_texts() == ["", ""]
    total = page.locator("#files-upload .files-total")
    expect(total).to_contain_text("5.0\xa0MB of 5.0\xa0MB, files: 1 of 2")
    expect(total).to_contain_text("left")
    assert total.get_by_role("progressbar", name="All uploads").evaluate("bar => bar.value") > 0.99
    held[2].continue_()
    expect(total).to_be_hidden()
    expect(page.locator("#files-upload").get_by_role("status").last).to_have_text(
        "Uploaded files: 2."
    )


@pytest.mark.parametrize(
    ("choice", "contents"),
    [
        ("Skip all", {"a.txt": "old", ".env": "old", "c.txt": "new"}),
        ("Replace all", {"a.txt": "new", ".env": "new", "c.txt": "new"}),
        (
            "Keep both for all",
            {
                "a.txt": "old",
                "a (2).txt": "old",
                "a (3).txt": "new",
                ".env": "old",
                ".env (2)": "new",
                "c.txt": "new",
            },
        ),
    ],
)
def test_one_decision_is_for_all(page, make_file, errors, choice, contents):
    for key in ("a.txt", ".env", *(["a (2).txt"] if choice.startswith("Keep") else [])):
        make_file(key, b"old")
    page.goto(LIST)
    uploading = choose(page, *(payload(name) for name in ("a.txt", "c.txt", ".env")))
    expect_states(uploading, "taken", "taken", "done")
    page.get_by_role("button", name=choice).click()
    eventually(
        lambda: (
            page.wait_for_timeout(20)
            or {str(file): file.read_text() for file in File.objects.live()}
        ),
        contents,
    )
    assert_conflict(errors)


def test_a_decision_for_all_is_for_what_is_found_later_too(page, make_file, errors):
    for key in ("a.txt", "b.txt"):
        make_file(key, b"old")
    later = []

    def answer(route):
        is_later = route.request.post_data_json["key"] == "b.txt"
        later.append(route) if is_later else route.continue_()

    page.route("**/api/uploads/", answer)
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"), payload("b.txt"))
    expect_states(uploading, "taken", "running")
    page.get_by_role("button", name="Skip all").click()
    expect_states(uploading, "running", "skipped")
    later[0].continue_()
    expect_states(uploading, "skipped", "skipped")
    assert_conflict(errors)


def test_what_systems_leave_in_folders_is_left_out(page, tmp_path):
    for name in ("f/a.txt", "f/.DS_Store", "f/g/.DS_Store", "f/g/b.txt", "f/g/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"new")
    page.goto(f"{LIST}?folder=x/")
    page.get_by_label("Upload a folder").set_input_files(tmp_path / "f")
    expect_states(rows(page), "done", "done")
    expect(rows(page).locator(".files-name")).to_have_text(["x/f/a.txt", "x/f/g/b.txt"])
    text = "Left out, as systems make them in each folder: .DS_Store (2), Thumbs.db."
    expect(page.locator(".files-left-out")).to_have_text(text)
    assert keys() == ["x/f/a.txt", "x/f/g/b.txt"]


def test_the_list_shows_what_has_come_and_keeps_what_is_selected(page):
    File.objects.bulk_create([File(object_key="a.txt"), File(object_key="z.txt")])
    page.goto(LIST)
    page.get_by_label("Select z.txt").check()
    page.get_by_label("Action:").select_option("Move to trash")
    page.get_by_label("Action:").focus()
    choose(page, payload("b.txt"))
    expect_rows(page, "a.txt", "b.txt", "z.txt")
    expect(page.locator(".paginator")).to_have_text("3 files")
    expect(page.locator(".action-counter")).to_have_text("1 of 3 selected")
    expect(page.get_by_label("Action:")).to_be_focused()
    page.get_by_label("Select b.txt").check()
    expect(page.locator(".action-counter")).to_have_text("2 of 3 selected")
    expect(rows(page)).to_have_count(1)
    page.locator(".actions [name=index]").click()
    expect(page.locator(".messagelist")).to_contain_text("Moved 2 files to the trash.")
    assert keys() == ["a.txt"]


def test_the_list_is_not_counted_again_when_files_have_come(page, make_file):
    make_file("a.txt")
    page.goto(f"{LIST}?usage=1")
    expect(page.locator(".files-usage")).to_contain_text("1 file")
    with page.expect_request(lambda request: request.headers.get("x-requested-with")) as asked:
        choose(page, payload("b.txt"))
    expect_rows(page, "a.txt", "b.txt")
    assert urlsplit(asked.value.url).query == ""


@pytest.mark.parametrize("address", ["", "{pk}/object/"])
def test_what_a_script_fetches_leaves_the_messages(admin_client, make_file, address):
    file, other = make_file("a.txt"), make_file("b.txt")
    admin_client.post(f"{LIST}{other.pk}/trash/")
    headers = {"X-Requested-With": "fetch"}
    told = [
        b"messagelist" in admin_client.get(f"{LIST}{address.format(pk=file.pk)}", **about).content
        for about in ({"headers": headers}, {}, {})
    ]
    assert told == [False, True, False]


def test_the_focus_stays_when_rows_change_their_order(page, make_file, large, errors):
    make_file("a.txt")
    page.goto(LIST)
    held = hold(page)
    choose(page, large)
    expect_held(page, held)
    page.get_by_role("button", name="Pause").focus()
    expect_states(choose(page, payload("a.txt")), "taken", "running")
    expect(page.get_by_role("button", name="Pause: large.bin")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel: large.bin").click()
    expect_states(rows(page), "taken", "canceled")
    assert_conflict(errors)


def test_what_happens_is_told_once_it_is_calm(page, make_file, errors):
    """Those who hear the page hear no number for each file."""
    names = [f"{number}.txt" for number in range(10)]
    for name in names:
        make_file(name)
    answers = []
    page.on("response", lambda answer: answers.append(answer.status))
    page.clock.install()
    page.goto(LIST)
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))
    choose(page, *map(payload, names))
    eventually(lambda: page.wait_for_timeout(20) or answers.count(409), 10)
    page.clock.run_for(900)
    expect_states(rows(page), *["taken"] * 10)
    status = page.locator("#files-upload .files-done")
    expect(status).to_be_empty()
    page.clock.run_for(1000)
    expect(status).to_have_text("Keys that are taken: 10.")
    assert_conflict(errors)


def test_a_thousand_files_are_fifty_rows(page):
    page.goto(LIST)
    page.route("**/api/uploads/", lambda route: None)
    choose(page, *(payload(f"{number:04}.txt") for number in range(1000)))
    expect(rows(page)).to_have_count(50)
    expect(page.locator(".files-more")).to_have_text("More that are not shown: 950.")
    expect(page.locator(".files-numbers")).to_contain_text("files: 0 of 1000")


def test_what_has_ended_is_cleared(page, make_file, errors):
    make_file("a.txt")
    page.goto(LIST)
    expect_states(choose(page, payload("a.txt"), payload("b.txt")), "taken", "done")
    page.get_by_role("button", name="Clear finished").click()
    expect_states(rows(page), "taken")
    expect(page.get_by_label("Upload files")).to_be_focused()
    expect(page.get_by_role("button", name="Clear finished")).to_be_hidden()
    assert_conflict(errors)
