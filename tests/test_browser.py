"""The admin in a real browser: what people see, click, type and drop."""

import errno
import hashlib
import io
import random
import re
import socket
import threading
import time
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import pytest
import urllib3
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Permission, User
from django.core.files.storage import default_storage
from django.core.signals import request_started
from django.db import connection
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from files import background
from files.circuit import Bulkhead
from files.models import File, Work
from files.storage import S3UnavailableError
from files.uploads import steps as uploads
from project.sandbox.samples import samples
from tests import location, steady_chromium
from tests.processes import skip_unless
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

PATIENCE = 30  # seconds: only what never comes takes as long

LIST = "/admin/files/file/"
PART = 5 * 2**20
SAMPLES = dict(samples())
PNG, WAV = SAMPLES["images/rings.png"], SAMPLES["sounds/chime.wav"]


@pytest.fixture(scope="module")
def browser():
    """Start the browser once; its event loop must be gone before other modules' tests."""
    is_there = Path(steady_chromium.CHROMIUM).exists()
    skip_unless(is_there, "Chromium is not installed (Debian: chromium)")
    expect.set_options(timeout=PATIENCE * 1000)
    connection.close()  # Django has one for inside of the event loop and one for outside
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # for the tests' own queries
        browser = playwright.chromium.launch(executable_path=steady_chromium.__file__, args=OPTIONS)
        yield browser
        browser.close()
        connection.close()


@pytest.fixture
def errors():
    """Collect what the pages complain of. A test that expects it clears it."""
    errors = []
    yield errors
    assert errors == []


@pytest.fixture
def open_page(browser, live_server, storage, errors):
    """Return what opens a page as a user with these permissions, or with all of them."""
    with opening(browser, live_server, errors) as open_page:
        yield open_page


@contextmanager
def opening(browser, live_server, errors):
    """End all that the pages have begun, also when the test has failed in the middle of it."""

    def note(message):
        url = message.location["url"]
        if message.type == "error" and url.startswith("http"):
            errors.append(f"{message.text} {url}")

    def open_page(*codenames, url=live_server.url, **options):
        context = browser.new_context(base_url=url, **options)
        # Not unroute_all() before it: that sends on the requests that the test holds.
        stack.callback(context.close)
        context.set_default_timeout(PATIENCE * 1000)
        context.add_cookies([{"name": "sessionid", "value": log_in(*codenames), "url": url}])
        context.on("console", note)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        return context.new_page()

    with ExitStack() as stack:
        # Before the bucket and the tables are emptied, or what still runs would fill them again.
        stack.callback(wait_until_idle, live_server)
        yield open_page


def log_in(*codenames):
    """Make a user with these permissions, or with all of them; return the id of a session."""
    user = User.objects.create(
        username=f"user{User.objects.count()}", is_staff=True, is_superuser=not codenames
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def wait_until_idle(live_server):
    """Return when the server has answered all that pages have asked, also those that are gone."""
    last = {"Connection": "close"}  # and accepted after all others
    urllib3.request("GET", f"{live_server.url}/static/files/upload.js", headers=last)
    limit = time.monotonic() + PATIENCE
    for thread in threading.enumerate():
        if thread.name.endswith("(process_request_thread)"):
            thread.join(max(0, limit - time.monotonic()))
            assert not thread.is_alive(), "The server still answers a page that has been closed."


@pytest.fixture
def page(open_page):
    return open_page()


def make(*keys, **values):
    return File.objects.bulk_create([File(object_key=key, **values) for key in keys])


def expect_rows(page, *names):
    expect(page.locator("#result_list .field-key")).to_have_text(list(names))


def keys():
    return sorted(map(str, File.objects.live()))


def detail(file):
    return f"{LIST}{file.pk}/change/"


def link(page, name):
    return page.locator("#content").get_by_role("link", name=name, exact=True)


def step(page, name):
    return page.locator(".breadcrumbs").get_by_role("link", name=name, exact=True)


# Browsing


def test_folders_lead_down_and_the_trail_leads_up(page):
    make("a/b/c.txt", "a/d.txt", "e.txt")
    page.goto(LIST)
    expect_rows(page, "a/", "e.txt")
    link(page, "Folder a/").click()
    link(page, "Folder b/").click()
    expect_rows(page, "c.txt")
    page.goto(page.url)
    expect_rows(page, "c.txt")
    step(page, "a/").click()
    expect_rows(page, "b/", "d.txt")
    step(page, "All files").click()
    expect_rows(page, "a/", "e.txt")


def test_a_folder_without_a_name_is_opened(page):
    make("/x.txt", "a//y.txt")
    page.goto(LIST)
    expect_rows(page, "(no name)/", "a/")
    link(page, "Folder (no name)/").click()
    expect_rows(page, "x.txt")
    page.goto(LIST)
    link(page, "Folder a/").click()
    link(page, "Folder (no name)/").click()
    expect_rows(page, "y.txt")
    expect(page.locator(".breadcrumbs [aria-current=page]")).to_have_text("(no name)/")


SCRIPT = """<img src=x onerror="window.pwned=1">"'<svg onload=window.pwned=1>"""


def test_script_in_keys_does_not_run(page, make_file, errors):
    file = make_file(f"{SCRIPT}/{SCRIPT}.txt")
    page.goto(LIST)
    link(page, f"Folder {SCRIPT}/").click()
    expect_rows(page, f"{SCRIPT}.txt")
    page.locator("#files-upload input").set_input_files(payload(f"{SCRIPT}.txt"))
    expect(page.locator("#files-upload li")).to_have_attribute("data-state", "taken")
    assert_no_script(page)
    assert_conflict(errors)
    told = [[40, f"“{SCRIPT}”: There is a file of this key."]]
    work = Work.objects.create(user_id=User.objects.get().pk, title=SCRIPT, url="/", messages=told)
    addresses = [LIST, f"{LIST}?q=onload", f"{LIST}work/{work.pk}/", detail(file)]
    for address in [*addresses, *(f"{LIST}{file.pk}/{name}/" for name in ("rename", "history"))]:
        page.goto(address)
        assert_no_script(page)
    page.goto(detail(file))
    page.get_by_role("button", name="Move to trash").click()  # and its message
    expect(page.locator(".messagelist")).to_contain_text(SCRIPT[:40])
    assert_no_script(page)


def assert_no_script(page):
    """Check that nothing has run, and nothing is there that would run a little later."""
    assert page.evaluate("window.pwned") is None
    expect(page.locator("[onerror], [onload]")).to_have_count(0)


def test_pages_lead_forward_and_back(page):
    names = [f"{number:03}" for number in range(250)]
    make(*names)
    page.goto(LIST)
    expect_rows(page, *names[:100])
    page.locator("a[rel=next]").click()
    expect_rows(page, *names[100:200])
    page.locator("a[rel=next]").click()
    expect_rows(page, *names[200:])
    expect(page.locator("a[rel=next]")).to_have_count(0)
    page.locator("a[rel=prev]").click()
    expect_rows(page, *names[100:200])
    page.locator("a[rel=prev]").click()
    expect_rows(page, *names[:100])
    expect(page.locator("a[rel=prev]")).to_have_count(0)


def test_the_search_is_below_the_folder(page):
    make("a/x1.txt", "a/b/x2.txt", "x3.txt")
    page.goto(f"{LIST}?folder=a/")
    page.locator("#searchbar").fill("x")
    page.keyboard.press("Enter")
    expect_rows(page, "a/b/x2.txt", "a/x1.txt")
    link(page, "Show by folder").click()
    expect_rows(page, "b/", "x1.txt")


def test_filter_and_order_go_together(page):
    for key, size in {"a.png": 2, "b.png": 3, "c.png": 1}.items():
        make(key, size=size, content_type="image/png")
    make("d.txt", size=2, content_type="text/plain")
    page.goto(LIST)
    link(page, "Image").click()
    link(page, "Size").click()
    expect_rows(page, "c.png", "a.png", "b.png")
    page.locator("th.column-file_size .toggle").click()
    expect_rows(page, "b.png", "a.png", "c.png")
    page.locator("#changelist-filter").get_by_role("link", name="All").first.click()
    expect_rows(page, "b.png", "d.txt", "a.png", "c.png")


def test_the_keyboard_is_enough(page, make_file):
    make_file("a/b.txt")
    page.goto(LIST)
    go_to(page, "#result_list a[href*=folder]")
    page.keyboard.press("Enter")
    expect_rows(page, "b.txt")
    go_to(page, "select[name=action]")
    page.keyboard.press("End")  # typing its name would choose by the pace of the typing
    expect(page.locator("select[name=action] option:checked")).to_have_text("Move to trash")
    go_to(page, "input.action-select")
    page.keyboard.press("Space")
    go_to(page, ".actions [name=index]", key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("Moved 1 file to the trash.")
    assert keys() == []


def go_to(page, selector, key="Tab"):
    """Press the key until the focus is there."""
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    pytest.fail(f"no Tab leads to {selector}")


# Previews


def test_texts_and_tables_are_shown(page, make_file):
    page.goto(detail(make_file("a.txt", "Grüße\n😀".encode(), ContentType="text/plain")))
    expect(page.locator(".file-preview pre")).to_have_text("Grüße\n😀")
    page.goto(detail(make_file("a.csv", b"name,note\r\nx,<b>y</b>\r\n", ContentType="text/csv")))
    expect(page.locator(".file-preview th")).to_have_text(["name", "note"])
    expect(page.locator(".file-preview td")).to_have_text(["x", "<b>y</b>"])
    page.goto(detail(make_file("a.bin", bytes(range(256)))))
    expect(page.locator(".file-preview pre")).to_contain_text("00000010  10 11 12 13")


def test_an_image_is_shown(page, make_file):
    page.goto(detail(make_file("a.png", PNG, ContentType="image/png")))
    image = page.get_by_role("img", name="Content of a.png")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [320, 200]


def test_a_sound_plays_from_anywhere(page, make_file):
    page.goto(detail(make_file("a.wav", WAV, ContentType="audio/x-wav")))
    at = page.locator(".file-preview audio").evaluate(
        """async audio => {
            const event = name => new Promise(done => audio.addEventListener(name, done));
            if (!audio.readyState) await event("loadedmetadata");
            const sought = event("seeked");
            audio.currentTime = 0.5;
            await sought;
            const ended = event("ended");
            audio.muted = true;
            await audio.play();
            await ended;
            return [audio.duration, audio.currentTime, audio.error];
        }"""
    )
    assert at == [1, 1, None]


def test_a_pdf_is_shown_in_its_frame(page, make_file):
    file = make_file("a.pdf", SAMPLES["documents/page.pdf"], ContentType="application/pdf")
    with page.expect_response(f"**/files/{file.pk}/") as answer:
        page.goto(detail(file))
    assert (answer.value.status, answer.value.headers["x-frame-options"]) == (200, "SAMEORIGIN")
    expect(viewer_of(page).locator("#pagelength")).to_have_text("1")


def viewer_of(page):
    """Return the browser's own viewer, which a frame that is blocked has not."""
    is_viewer = re.compile("^chrome-extension:")
    eventually(lambda: page.wait_for_timeout(50) or bool(page.frame(url=is_viewer)), True)
    return page.frame(url=is_viewer)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.txt", "text/plain"),
        ("a.txt", "text/html"),
        ("a.xml", "application/xhtml+xml"),
    ],
)
def test_script_in_contents_does_not_run(page, make_file, name, kind):
    data = (
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="top.pwned=1"><script>top.pwned=1'
        b'</script><img src="x" onerror="top.pwned=1"/></svg>'
    )
    file = make_file(name, data, ContentType=kind)
    page.goto(detail(file))
    expect(page.locator(".file-preview pre")).to_have_text(data.decode())
    assert page.evaluate("window.pwned") is None
    link(page, "Open").click()
    expect(page.locator("#content h1")).to_have_text(f"Preview: {name}")
    expect(page.locator(".file-preview pre")).to_have_text(data.decode())
    assert page.evaluate("window.pwned") is None
    page.goto(detail(file))
    with page.expect_download() as saved:
        link(page, "Download").click()
    assert Path(saved.value.path()).read_bytes() == data


# Uploads


@pytest.fixture
def _small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "PART_SIZE", PART)


@pytest.fixture
def large(_small_parts, tmp_path):
    """Return a file that goes in parts, two of them."""
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(0).randbytes(PART + 1000))
    return path


def payload(name, data=b"new"):
    return {"name": name, "mimeType": "text/plain", "buffer": data}


def choose(page, *files):
    """Choose files in the upload panel; return their rows."""
    page.locator("#files-upload input").set_input_files(list(files))
    return page.locator("#files-upload li")


def expect_states(uploading, *states):
    for number, state in enumerate(states):
        expect(uploading.nth(number)).to_have_attribute("data-state", state)
    expect(uploading).to_have_count(len(states))


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


def objects(storage):
    found = location.client().list_objects_v2(Bucket=storage.bucket_name)
    return [entry["Key"] for entry in found.get("Contents", ())]


def assert_conflict(errors):
    """Check that all there was to complain of is the answer that a key is taken."""
    assert errors
    assert all("409 (Conflict)" in error for error in errors)
    errors.clear()


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
    assert (
        panel.locator("progress").evaluate_all("bars => bars.map(bar => bar.position)") == [1] * 4
    )
    link(page, "Show them in the list").click()
    expect_rows(page, "d/", "a.txt", "c.bin", "ü b.txt")
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
def test_leaving_the_page_asks_and_then_leaves_nothing(page, storage, large, way):
    other = page.context.new_page()  # so that the browser's window stays
    page.goto(LIST)
    held = hold(page)
    page.locator("#files-upload .help").click()  # browsers ask only where somebody has clicked
    choose(page, large)
    expect_held(page, held)
    assert open_uploads(storage) == ["large.bin"]
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    if way == "close":
        page.close(run_before_unload=True)
    else:
        page.goto("/admin/")
    eventually(lambda: other.wait_for_timeout(50) or open_uploads(storage), [])
    assert asked == ["beforeunload"]
    assert (keys(), objects(storage)) == ([], [])


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
    expect(uploading.get_by_role("status")).to_have_text("The disk is full.")
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
    expect_states(uploading, "done", "done", "taken")
    uploading.last.get_by_role("button", name="Replace").click()
    expect_states(uploading, "done", "done", "done")
    assert {str(file): file.read_text() for file in File.objects.live()} == {
        "f/a.txt": "newer",
        "f/a.txt2": "new",
        "f/free.txt": "new",
    }
    assert File.objects.trashed().get().read_text() == "old"
    assert_conflict(errors)


def test_who_may_not_replace_is_not_offered_it(open_page, make_file, errors):
    make_file("a.txt", b"old")
    page = open_page("view_file", "add_file")
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    expect(uploading.get_by_role("button")).to_have_text(["Another key", "Cancel"])
    uploading.get_by_role("button", name="Cancel").click()
    expect_states(uploading, "canceled")
    assert File.objects.get().read_text() == "old"
    assert_conflict(errors)


def test_why_an_upload_is_not_allowed_any_more_is_shown(open_page, storage, errors):
    page = open_page("view_file", "add_file")
    page.goto(LIST)
    Permission.objects.get(codename="add_file").user_set.clear()
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    text = "You may not do this: ask an administrator for the permission."
    expect(uploading.get_by_role("status")).to_have_text(text)
    assert objects(storage) == []
    assert [re.search("403", error)[0] for error in errors] == ["403"]
    errors.clear()


def test_who_is_logged_out_logs_in_and_tries_again(page, live_server, storage, errors):
    page.goto(LIST)
    page.context.clear_cookies()
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    text = "You are logged out: log in in another tab and try again."
    expect(uploading.get_by_role("status")).to_have_text(text)
    page.context.add_cookies([{"name": "sessionid", "value": log_in(), "url": live_server.url}])
    page.context.new_page().goto(LIST)
    uploading.get_by_role("button", name="Try again").click()
    expect_states(uploading, "done")
    assert keys() == ["a.txt"]
    assert [re.search("401", error)[0] for error in errors] == ["401"]
    errors.clear()


def test_without_scripts_a_form_uploads(open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{LIST}?folder=a%26b/")
    assert page.locator("#files-upload").is_hidden()
    page.locator(".object-tools").get_by_role("link", name="Add file").click()
    page.locator("input[type=file]").set_input_files(payload("c d.txt"))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    assert {str(file): file.read_text() for file in File.objects.all()} == {"a&b/c d.txt": "new"}


# What is done with files


def test_a_file_is_renamed(page, make_file, storage):
    for key in ("images/old/y.png", "imports/z", "a.txt"):
        file = make_file(key)
    page.goto(detail(file))
    page.get_by_role("link", name="Rename or move").click()
    page.get_by_label("Folder").fill("im")
    expect(page.locator("datalist option")).to_have_count(2)
    options = page.locator("datalist").evaluate("list => [...list.options].map(o => o.value)")
    assert options == ["images/", "imports/"]
    expect(page.get_by_text("This folder is new.")).to_be_visible()
    page.get_by_label("Folder").fill("images/old")
    expect(page.get_by_text("This folder is new.")).to_be_hidden()
    page.get_by_label("Folder").fill("b/")
    page.get_by_label("Name").fill("c.txt")
    page.get_by_role("button", name="Rename or move").click()
    expect(page.locator("#content h1, #content .field-key .readonly")).to_contain_text(
        ["c.txt", "b/c.txt"]
    )
    assert (keys(), objects(storage)) == (["b/c.txt", "images/old/y.png", "imports/z"],) * 2


def test_a_content_is_replaced(page, make_file):
    file = make_file("a.txt", b"old", ContentType="text/plain")
    page.goto(detail(file))
    page.get_by_role("link", name="Replace content").click()
    page.get_by_label("Content").set_input_files(payload("x.txt"))
    page.get_by_role("button", name="Replace content").click()
    expect(page.locator(".file-preview pre")).to_have_text("new")
    assert File.objects.live().get().read_text() == "new"
    assert File.objects.trashed().get().read_text() == "old"


def test_the_trash_gives_back_or_deletes(page, make_file, storage):
    make_file("a.txt")
    page.goto(LIST)
    link(page, "a.txt").click()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.locator(".files-empty")).to_have_text("Nothing is here yet.")
    link(page, "In the trash").click()
    link(page, "a.txt").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".messagelist")).to_contain_text("Restored")
    assert keys() == ["a.txt"]
    page.get_by_role("button", name="Move to trash").click()
    link(page, "In the trash").click()
    link(page, "a.txt").click()
    page.get_by_role("link", name="Delete permanently").click()
    assert objects(storage) == ["a.txt"]
    page.get_by_role("button", name="Delete permanently").click()
    expect(page.locator(".messagelist")).to_contain_text("Deleted permanently")
    assert (File.objects.count(), objects(storage)) == (0, [])


def test_several_are_downloaded_as_a_zip(page, make_file):
    contents = {f"a/{name}": name.encode() * 1000 for name in ("b.txt", "c.txt", "d.txt")}
    for key, data in contents.items():
        make_file(key, data)
    page.goto(f"{LIST}?folder=a/")
    for name in ("b.txt", "d.txt"):
        page.get_by_role("row", name=name).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("Download as a zip")
    with page.expect_download() as saved:
        page.locator(".actions [name=index]").click()
    assert saved.value.suggested_filename == "a.zip"
    with zipfile.ZipFile(io.BytesIO(Path(saved.value.path()).read_bytes())) as archive:
        assert {f"a/{name}": archive.read(name) for name in archive.namelist()} == {
            key: data for key, data in contents.items() if key != "a/c.txt"
        }


# By the policy of the pages: what it forbids is an error in the console

JOBS = ["/admin/files/run/", "/admin/procrastinate/procrastinatejob/"]
DJANGOS = ["/login/", "/admin/", "/admin/password_change/", "/admin/auth/user/add/", *JOBS]


def test_pages_of_the_admin_keep_the_policy(page, make_file):
    file, user = make_file(), User.objects.get()
    own = [f"{LIST}{file.pk}/history/", f"/admin/auth/user/{user.pk}/delete/"]
    for address in [*DJANGOS, *own, "/admin/auth/group/add/"]:
        page.goto(address)
    page.goto(f"/admin/auth/user/{user.pk}/change/")
    page.locator("#id_user_permissions_input").press_sequentially("permanently")
    shown = page.locator("#id_user_permissions_from option:visible")
    expect(shown).to_have_text(["Files | file | Can delete file permanently"])
    page.locator(".datetimeshortcuts").get_by_text("Today").first.click()  # a link, or a button
    expect(page.locator("#id_last_login_0")).to_have_value(re.compile(r"\d{4}-\d\d-\d\d"))


@pytest.fixture
def production(open_page, serve, static):
    """Return a page of the production server, whose contents come from S3, after the login."""
    password = PBKDF2PasswordHasher().encode("password", "salt", 1)
    User.objects.create(username="admin", password=password, is_staff=True, is_superuser=True)
    url = serve(APP_DEBUG="false", APP_DELIVERY="redirect", APP_STATIC_ROOT=static)
    page = open_page(url=url)
    page.goto(LIST)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("password")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#content h1")).to_have_text("All files")
    return page


def test_a_browser_takes_the_cookies_of_production(production):
    found = {cookie["name"]: cookie["secure"] for cookie in production.context.cookies()}
    own = {"__Host-csrftoken": True, "__Host-sessionid": True, "timezone": False}
    assert found == {"sessionid": False, **own}  # that of the other tests


def test_contents_are_shown_that_come_from_the_bucket(production, make_file):
    production.goto(detail(make_file("a.png", PNG, ContentType="image/png")))
    image = production.get_by_role("img", name="Content of a.png")
    assert image.evaluate("image => image.naturalWidth") == 320
    production.goto(detail(make_file("a.wav", WAV, ContentType="audio/x-wav")))
    sound = production.locator(".file-preview audio")
    eventually(lambda: sound.evaluate("audio => audio.duration"), 1)
    file = make_file("a.pdf", SAMPLES["documents/page.pdf"], ContentType="application/pdf")
    production.goto(detail(file))
    expect(viewer_of(production).locator("#pagelength")).to_have_text("1")


def test_the_page_of_long_work_shows_how_far_it_is_without_scripts(open_page):
    page = open_page(java_script_enabled=False)
    make("a")
    work = Work.objects.create(
        user_id=0, title="Move", url=LIST, total=1000, started_at=timezone.now()
    )
    for done in (120, 121):
        work.done = done
        work.write()
        if done == 120:
            page.goto(f"{LIST}work/{work.pk}/")
        expect(page.get_by_role("status")).to_have_text(f"under way, {done} of 1,000 files")
    work.tell("Moved 1000 files.")
    work.done, work.ended_at = 1000, timezone.now()
    work.write()
    expect(page.locator(".messagelist")).to_have_text("Moved 1000 files.")
    link(page, "Back to the files").click()
    expect_rows(page, "a")


# For all eyes and hands


@pytest.fixture
def pages(make_file):
    """Return the addresses of pages with everything on them that this project shows."""
    make_file("taken.txt", b"old")
    make(*(f"{'long-name-' * 12}{number}.txt" for number in range(100)), size=12345678)
    make(f"{'deep/' * 30}x", missing_at=timezone.now())
    make(f"{'deep/' * 30}y", changed_at=timezone.now())
    wide = (",".join(f"column {number}" for number in range(40)) + "\r\n") * 3
    samples = [
        (f"{'table' * 20}.csv", wide.encode(), "text/csv"),
        ("text.txt", b"word " * 1000, "text/plain"),
        ("image.png", PNG, "image/png"),
        ("sound.wav", WAV, "audio/x-wav"),
        ("page.pdf", SAMPLES["documents/page.pdf"], "application/pdf"),
        ("counting.bin", bytes(range(256)), "application/octet-stream"),
    ]
    files = [make_file(key, data, ContentType=kind) for key, data, kind in samples]
    table = files[0].pk
    told = [[40, f"“{'long-name-' * 12}”: There is a file of this key."], [25, "Moved 1 file."]]
    user = User.objects.get()
    work = Work.objects.create(user_id=user.pk, title="Move " * 40, url=LIST, messages=told)
    Work.objects.update(seen_at=timezone.now() - timedelta(minutes=2))  # so it is interrupted
    return [
        LIST,
        f"{LIST}?folder={'deep/' * 30}",
        f"{LIST}?q=x&usage=1",
        f"{LIST}work/{work.pk}/",
        *(detail(file) for file in files),
        *(f"{LIST}{path}" for path in (f"{table}/rename/", f"{table}/replace/", "add/")),
        *(f"{LIST}{files[1].pk}/{name}/" for name in ("preview", "object")),
    ]


def fill_panel(page, errors):
    expect_states(choose(page, payload("taken.txt"), payload("new.txt")), "taken", "done")
    assert_conflict(errors)


CONTRASTS = """selectors => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const over = (below, color) => {  // the browser itself knows all notations of colours
        canvas.fillStyle = `rgb(${below})`;
        canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const behind = element => over(
        element.parentElement ? behind(element.parentElement) : [255, 255, 255],
        getComputedStyle(element).backgroundColor,
    );
    const luminance = color => color
        .map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const found = [];
    for (const element of document.querySelectorAll(selectors)) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (own && element.checkVisibility()) {
            const ground = behind(element);
            const lights = [ground, over(ground, getComputedStyle(element).color)].map(luminance);
            const ratio = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
            found.push([element.textContent.trim().slice(0, 40), Math.round(ratio * 100) / 100]);
        }
    }
    return found;
}"""

AT_ONCE = """() => {  // a sheet that is made by a script is no style in the page
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { transition: none !important }");
    document.adoptedStyleSheets.push(sheet);
}"""

OWN = ", ".join(
    f"{part}, {part} *"
    for part in (
        *(
            ".breadcrumbs",
            ".files-scope",
            ".files-work",
            ".files-works",
            "#files-upload",
            ".paginator",
            "#result_list tbody",
        ),
        *(".file-preview", ".files-links", ".files-told", ".files-warning", ".object-tools"),
    )
)


# What must have a name of its own, as Chromium calls it.
NAMED = {
    *("Audio", "Iframe", "button", "checkbox", "combobox", "image", "link", "navigation"),
    *("progressbar", "region", "searchbox", "textbox"),
}


def test_every_page_is_for_all_eyes_and_hands(page, pages, errors):
    """One walk for all: narrow windows, contrast in light and dark, names for screen readers."""
    seen = set()
    for address in pages:
        page.goto(address)
        if address == LIST:
            fill_panel(page, errors)
        page.evaluate(AT_ONCE)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            texts = page.evaluate(CONTRASTS, OWN)
            assert [text for text in texts if text[1] < 4.5] == [], (address, scheme)
            seen |= {scheme for _ in texts}
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        names = [
            (node["role"]["value"], node.get("name", {}).get("value"))
            for node in nodes
            if not node["ignored"]
        ]
        assert [role for role, name in names if role in NAMED and not name] == [], address
        seen |= {role for role, _ in names}
        page.set_viewport_size({"width": 390, "height": 844})
        widths = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert widths == [390, 390], address
        page.set_viewport_size({"width": 1280, "height": 800})
    assert {*NAMED, "light", "dark"} <= seen


# Accounts


def test_somebody_who_is_not_staff_logs_in_and_out_by_keyboard(page):
    user = User.objects.create_user("reader", password="s3cret")
    user.user_permissions.set(Permission.objects.filter(codename="view_file"))
    make("a.txt")
    page.context.clear_cookies()
    page.goto("/")
    for text in ("reader", "s3cret"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_rows(page, "a.txt")
    page.keyboard.press("Tab")
    while page.locator(":focus").inner_text().lower() != "log out":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(link(page, "Log in again")).to_be_visible()


# The API


def try_out(page, operation, fields):
    """Send a request from the page, and return its status and what came."""
    block = page.locator(f"#operations-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    for selector, value in fields.items():
        block.locator(selector).fill(value)
    block.get_by_role("button", name="Execute").click()
    table = block.locator(".live-responses-table")
    return table.locator(".response-col_status").last, table.locator(".response-col_description")


def test_people_try_the_api_with_their_session(production, make_file):
    file = make_file("a b/ü.txt", b"text")
    production.goto("/api/")
    expect(production.get_by_role("heading", name="Files", level=1)).to_be_visible()
    folder = {"tr[data-param-name=folder] input": "a b/"}
    status, body = try_out(production, "files-list_files", folder)
    expect(status).to_have_text("200")
    expect(body.last).to_contain_text('"key": "a b/ü.txt"')
    ids = {"textarea": f'{{"ids": [{file.pk}]}}'}  # a POST, which needs a CSRF token
    status, body = try_out(production, "zip-zip_files", ids)
    expect(status).to_have_text("200")
    with production.expect_download() as download:
        body.last.get_by_role("link", name="Download file").click()
    with zipfile.ZipFile(download.value.path()) as made:
        assert made.read("a b/ü.txt") == b"text"
