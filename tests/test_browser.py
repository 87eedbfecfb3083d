"""The admin in a real browser: what people see, click, type and drop."""

import io
import re
import threading
import time
import zipfile
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from files.models import File, Work
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
    choose(page, payload(f"{SCRIPT}.txt"))
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


# Uploads: tests/test_browser_uploads.py has more of them


def payload(name, data=b"new"):
    return {"name": name, "mimeType": "text/plain", "buffer": data}


def choose(page, *files):
    """Choose files in the upload panel; return their rows."""
    page.get_by_label("Upload files").set_input_files(list(files))
    return page.locator("#files-upload li")


def expect_states(uploading, *states):
    for number, state in enumerate(states):
        expect(uploading.nth(number)).to_have_attribute("data-state", state)
    expect(uploading).to_have_count(len(states))


def objects(storage):
    found = location.client().list_objects_v2(Bucket=storage.bucket_name)
    return [entry["Key"] for entry in found.get("Contents", ())]


def assert_conflict(errors):
    """Check that all there was to complain of is the answer that a key is taken."""
    assert errors
    assert all("409 (Conflict)" in error for error in errors)
    errors.clear()


def test_without_scripts_a_form_uploads(open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{LIST}?folder=a%26b/")
    assert page.locator("#files-upload").is_hidden()
    page.locator(".object-tools").get_by_role("link", name="Add file").click()
    page.locator("input[type=file]").set_input_files(payload("c d.txt"))
    page.get_by_role("button", name="Add file").click()
    expect(page.locator(".messagelist")).to_contain_text("The file was added.")
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


def test_folders_are_asked_for_once_the_typing_pauses(page, make_file):
    file = make_file("images/a.png")
    page.clock.install()
    with page.expect_response(re.compile("folder=")):
        page.goto(f"{LIST}{file.pk}/rename/")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    page.get_by_label("Folder").fill("")
    page.get_by_label("Folder").press_sequentially("ima")
    assert asked == []
    with page.expect_response(re.compile("folder=ima$")):
        page.clock.run_for(150)
    assert len(asked) == 1


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
    page.route("**/api/files/?key=slow.txt*", lambda route: None)
    uploading = choose(page, *(payload(f"{name}.txt") for name in ("taken", "new", "slow")))
    expect_states(uploading, "taken", "running", "done")
    expect(page.locator(".files-policies")).to_be_visible()
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
