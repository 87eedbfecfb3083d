"""One file in a real browser: its copies, its object, and its preview by keyboard."""

import pytest
from playwright.sync_api import expect

from project.sandbox.samples import samples
from tests.test_browser import LIST, browser, detail, errors, link, open_page, page  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

SAMPLES = dict(samples())
PASTED = "navigator.clipboard.readText()"


@pytest.fixture
def reading(open_page):  # noqa: F811
    """Return a page that may read the clipboard."""
    page = open_page()  # noqa: F811
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return page


def test_what_is_copied_is_pasted(reading, make_file, bucket, live_server):
    file = make_file("a/b.txt")
    reading.goto(detail(file))
    copies = {
        "Copy key": "a/b.txt",
        "Copy S3 URI": f"s3://{bucket}/a/b.txt",
        "Copy address": f"{live_server.url}/files/{file.pk}/",
        "Copy command": f"manage.py read_file {file.pk}",
    }
    for name, text in copies.items():
        reading.get_by_role("button", name=name).click()
        expect(reading.get_by_role("status")).to_have_text(name.replace("Copy", "Copied:") + ".")
        assert reading.evaluate(PASTED) == text


def test_without_the_clipboard_a_key_is_copied_to_the_byte(reading, make_file):
    reading.add_init_script("navigator.clipboard.writeText = () => Promise.reject()")
    key = "a\r\n\tb\nü"
    reading.goto(detail(make_file(key)))
    reading.get_by_role("button", name="Copy key").click()
    expect(reading.get_by_role("status")).to_contain_text("Copied:")
    assert reading.evaluate(PASTED) == key


def test_what_cannot_be_copied_is_shown(page, make_file):  # noqa: F811
    page.add_init_script(
        "navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false"
    )
    page.goto(detail(make_file("a.txt")))
    page.get_by_role("button", name="Copy key").click()
    text = "Not copied; select it and copy it by hand: a.txt"
    expect(page.get_by_role("status")).to_have_text(text)


def test_the_object_is_asked_for_when_it_is_opened(page, make_file):  # noqa: F811
    file = make_file("a.txt", Metadata={"owner": "Jo"})
    asked = []
    page.on("request", lambda request: request.url.endswith("/object/") and asked.append(1))
    page.goto(detail(file))
    opener = page.get_by_text("Object in S3")
    for _ in range(3):
        opener.click()
    row = page.get_by_role("row", name="x-amz-meta-owner")
    expect(row.get_by_role("cell")).to_have_text("Jo")
    assert asked == [1]


def test_an_object_that_cannot_be_fetched_is_a_link(page, make_file, errors):  # noqa: F811
    page.goto(detail(make_file("a.txt")))
    page.route("**/object/", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        page.get_by_text("Object in S3").click()
    page.unroute("**/object/")
    link(page, "Show headers, metadata and tags").click()
    expect(page.get_by_role("table", name="Tags").get_by_role("cell")).to_have_text("None.")
    assert [error for error in errors if "net::ERR_FAILED" not in error] == []
    errors.clear()


def test_previews_are_turned_over_by_keys(page, make_file):  # noqa: F811
    make_file("a/b.csv", b"name\r\nx\r\n", ContentType="text/csv")
    make_file("a/c.png", SAMPLES["images/rings.png"], ContentType="image/png")
    make_file("a/d.txt", b"x" * 1000, ContentType="text/plain")
    page.goto(f"{LIST}?folder=a/")
    link(page, "c.png").click()
    link(page, "Open").click()
    expect_preview(page, "c.png", "img")
    page.keyboard.press("ArrowRight")
    expect_preview(page, "d.txt", "pre")
    page.locator(".file-preview-box").focus()
    page.keyboard.press("ArrowLeft")  # which is for the box
    expect_preview(page, "d.txt", "pre")
    page.get_by_role("link", name="Previous file").click()
    expect_preview(page, "c.png", "img")
    page.keyboard.press("ArrowLeft")
    expect_preview(page, "b.csv", "table")
    page.evaluate("addEventListener('click', () => { window.isTurned = true; })")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("window.isTurned") is None
    page.keyboard.press("Escape")
    expect(page.locator("#content h1")).to_have_text("b.csv")
    page.get_by_role("link", name="Close").click()
    assert page.url.endswith(f"{LIST}?folder=a%2F")


def expect_preview(page, name, element):  # noqa: F811
    expect(page.locator("#content h1")).to_have_text(f"Preview: {name}")
    expect(page.locator(f".file-preview {element}")).to_be_visible()
    page.wait_for_load_state()  # or a key would be pressed before the script is there


@pytest.mark.parametrize("width", [1280, 375])
def test_a_preview_takes_the_window_and_no_more(open_page, make_file, width):  # noqa: F811
    page = open_page(viewport={"width": width, "height": 700})  # noqa: F811
    wide = ",".join("column" for _ in range(50))
    files = [
        make_file("a.csv", f"{wide}\r\n".encode() * 90, ContentType="text/csv"),
        make_file("a.txt", b"line\n" * 1000, ContentType="text/plain"),
        make_file("a.pdf", SAMPLES["documents/page.pdf"], ContentType="application/pdf"),
    ]
    for file in files:
        page.goto(f"{LIST}{file.pk}/preview/")
        box = page.locator(".file-preview-box, iframe").bounding_box()
        assert box["height"] > 400
        sizes = "[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]"
        assert page.evaluate(sizes) == [width, 700], file
