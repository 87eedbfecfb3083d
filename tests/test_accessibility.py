"""The admin for all eyes and hands: axe-core, the keyboard, narrow windows, long names."""

import re
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from files import changes
from files.keys import brief
from files.models import Range, Run, Token, Work
from project.sandbox.samples import samples
from tests.test_browser import (  # noqa: F401 - fixtures among them
    LIST,
    browser,
    detail,
    errors,
    expect_rows,
    link,
    make,
    open_page,
    page,
    payload,
    step,
)

pytestmark = pytest.mark.django_db(transaction=True)

SAMPLES = dict(samples())
LONG = f"{'0123456789/' * 20}{'long ' * 90}{'x' * 326}.txt"  # 1,000 bytes
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# What axe-core finds on pages that are Django's own: title, rule and element, and what that is.
RUN = "check_files | View run | Files"
DJANGOS = {
    (RUN, "empty-table-header", "thead > tr > .original"): "the column of the names of rows",
    (RUN, "empty-table-header", "th:nth-child(6)"): "the column of the boxes that delete rows",
    ("Log in | Files", "page-has-heading-one", "html"): "a title that stands in the header alone",
}
# What others make, whole: the page of the API is Swagger UI's.
OTHERS = {"exclude": [".swagger-ui"]}

PAGES = ["object", "rename", "replace", "history"]  # of a file

PHONE = {"viewport": {"width": 375, "height": 812}}
LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "narrow": PHONE}


@pytest.fixture(params=LOOKS)
def window(request, open_page):  # noqa: F811
    return open_page(**LOOKS[request.param])


@pytest.fixture
def addresses(make_file):
    """Return what makes the rows of a user, and returns the addresses of all kinds of pages."""

    def addresses(user):
        now = timezone.now()
        kinds = {
            "a/text.txt": ("letters/notes.txt", "text/plain"),
            "a/table.csv": ("tables/planets.csv", "text/csv"),
            "a/image.png": ("images/rings.png", "image/png"),
            LONG: ("binary/counting.bin", "application/octet-stream"),
        }
        files = [
            make_file(key, SAMPLES[sample], ContentType=kind)
            for key, (sample, kind) in kinds.items()
        ]
        (trashed,) = make("gone.txt", deleted_at=now)
        make("lost.txt", missing_at=now)
        make("taken.txt", damaged_at=now, size=1, content_type=SHEET, modified_at=now)
        told = [[40, "“a.txt”: There is a file of this key."], [25, "Moved 1 file."]]
        work = Work.objects.create(user_id=user.pk, title="Move", url=LIST, messages=told, total=2)
        run = Run.objects.create(command="check_files", options={"fast": True})
        Range.objects.create(run=run, after="", upto="", output="+ a\n", lines=1)
        token, _ = Token.objects.issue(user=user, name="of a test", expires_at=now + timedelta(7))
        return [
            LIST,
            f"{LIST}?folder=a/",
            f"{LIST}?q=t&type=text/&usage=1&o=-2",
            f"{LIST}?state=trash",
            f"{LIST}?folder=nothing/",
            *map(detail, [*files, trashed]),
            *(f"{LIST}{file.pk}/preview/" for file in files),
            *(f"{LIST}{files[0].pk}/{name}/" for name in PAGES),
            f"{LIST}{trashed.pk}/delete/",
            f"{LIST}add/?folder=a/",
            f"{LIST}work/{work.pk}/",
            "/admin/files/token/",
            f"/admin/files/token/{token.pk}/change/",
            "/admin/files/token/add/",
            "/admin/files/run/",
            f"/admin/files/run/{run.pk}/change/",
            "/admin/procrastinate/procrastinatejob/",
            "/admin/",
            "/admin/files/",
            "/admin/password_change/",
            "/admin/nothing/",
            "/api/",
        ]

    return addresses


def violations(page):  # noqa: F811
    """Return the title of the page, and rule and element of each violation on it."""
    found = Axe().run(page, OTHERS).response["violations"]
    return [
        (page.title(), each["id"], element)
        for each in found
        for node in each["nodes"]
        for element in node["target"]
    ]


def test_axe_finds_nothing_on_pages_but_what_is_djangos(window, addresses, errors):  # noqa: F811
    found = []
    for address in addresses(User.objects.get()):
        window.goto(address)
        if address == "/api/":
            expect(window.get_by_role("heading", name="Files", level=1)).to_be_visible()
        found += violations(window)
    window.context.clear_cookies()
    window.goto("/login/")
    found += violations(window)
    assert set(found) == DJANGOS.keys()
    assert all("404" in error for error in errors)  # one of the pages says so
    errors.clear()


def choose(page, action):  # noqa: F811
    """Do something with all files of a list."""
    page.locator("#action-toggle").check()
    page.get_by_label("Action:").select_option(action)
    page.locator(".actions [name=index]").click()


def test_axe_finds_nothing_on_the_pages_behind_forms(window):
    make("a.txt", "b.txt")
    title = window.get_by_role("heading", level=1)
    window.goto(LIST)
    choose(window, "Move to another folder")
    expect(title).to_have_text("Move to another folder")
    found = violations(window)
    window.goto(LIST)
    choose(window, "Move to trash")
    expect(window.get_by_role("button", name="Undo")).to_be_visible()
    found += violations(window)
    window.goto(f"{LIST}?state=trash")
    choose(window, "Delete permanently")
    expect(title).to_have_text("Delete permanently")
    found += violations(window)
    window.goto("/admin/files/token/add/")
    window.get_by_role("button", name="Save").click()
    expect(title).to_have_text("The token")
    assert found + violations(window) == []


def test_axe_finds_nothing_in_the_uploads(window, make_file, errors):  # noqa: F811
    make_file("taken.txt")
    window.goto(LIST)
    names = ["new.txt", "taken.txt", f"{'x' * 1025}.txt"]
    window.locator("#files-upload input").first.set_input_files([payload(name) for name in names])
    for state in ("done", "taken", "failed"):
        expect(window.locator(f"#files-upload li[data-state={state}]")).to_be_visible()
    assert violations(window) == []
    errors.clear()  # of the two that were refused


def test_axe_finds_nothing_where_one_may_not_go(open_page, errors):  # noqa: F811
    page = open_page("view_file")  # noqa: F811
    page.goto("/admin/auth/user/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    assert violations(page) == []
    errors.clear()  # of the answer 403


def test_the_first_file_is_within_five_tabs(page):  # noqa: F811
    make("a.txt")
    page.goto(LIST)
    for key in ("Tab", "Tab", "Enter", "Tab", "Tab"):
        page.keyboard.press(key)
    expect(page.locator(":focus")).to_have_text("a.txt")


def test_a_slash_leads_to_the_search(page):  # noqa: F811
    make("a.txt")
    page.goto(f"{LIST}?q=a")
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()
    page.keyboard.type("b/")
    expect(page.locator("#searchbar")).to_have_value("b/")
    page.locator("select[name=action]").focus()
    page.keyboard.press("/")
    expect(page.locator("select[name=action]")).to_be_focused()
    page.locator(".action-select").focus()
    page.keyboard.press("Control+/")
    expect(page.locator(".action-select")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()


FIRST_LETTER = """element => {
    const range = document.createRange();
    range.setStart(element.lastChild, 1); // after a space
    range.setEnd(element.lastChild, 2);
    return range.getBoundingClientRect().toJSON();
}"""
FORMS = ["add/", "{}/rename/"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("look", ["light", "narrow"])
def test_a_note_on_a_new_folder_moves_nothing(open_page, make_file, look, form):  # noqa: F811
    page = open_page(**LOOKS[look])  # noqa: F811
    page.goto(LIST + form.format(make_file("a/b.txt").pk))
    parts = [page.get_by_label("Folder"), page.locator(".submit-row")]
    before = [part.bounding_box() for part in parts]
    parts[0].fill("new/")
    note = page.get_by_text("This folder is new.")
    expect(note).to_be_visible()
    assert [part.bounding_box() for part in parts] == before
    assert note.evaluate(FIRST_LETTER)["left"] == pytest.approx(before[0]["x"], abs=8)


def test_the_outline_of_a_field_is_not_cut(open_page, make_file):  # noqa: F811
    page = open_page(**PHONE)  # noqa: F811
    page.goto(f"{LIST}{make_file('a').pk}/rename/")
    expect(page.locator(".form-row").first).to_have_css("overflow", "visible")


SEEN = """() => {
    const element = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const name = element === document.body ? "BODY" : element.outerHTML;
    return [name, outlineStyle !== "none" && outlineWidth !== "0px"];
}"""


def test_the_focus_is_seen(page):  # noqa: F811
    make("a.txt")
    page.goto(LIST)
    found = {}
    for _ in range(60):
        page.keyboard.press("Tab")
        element, is_seen = page.evaluate(SEEN)
        found[element] = is_seen
    assert [element for element, is_seen in found.items() if not is_seen] == ["BODY"]


PLACES = """() => [...document.querySelectorAll("#content table")].map(
    table => [table.offsetWidth, table.closest(".results")?.clientWidth ?? innerWidth]
)"""


def test_no_table_is_wider_than_its_place(page, addresses, errors):  # noqa: F811
    page.set_viewport_size({"width": 1280, "height": 800})
    found = []
    for address in addresses(User.objects.get()):
        page.goto(address)
        found += [(address, *widths) for widths in page.evaluate(PLACES)]
    assert [each for each in found if each[1] > each[2]] == []
    assert len(found) > 5
    errors.clear()


DEEP = "customers/northern-region/2026/quarterly-reports/Q1"
# Whether the last letter of each is within what is shown of it.
ENDS = """selector => [...document.querySelectorAll(selector)].map(element => {
    const range = document.createRange();
    const name = [...element.childNodes].findLast(({ nodeType }) => nodeType === Node.TEXT_NODE);
    range.setStart(name, name.length - 1);
    range.setEndAfter(name);
    return range.getBoundingClientRect().bottom <= element.getBoundingClientRect().bottom + 1;
})"""


@pytest.mark.parametrize("width", [375, 768, 1024, 1280])
def test_a_list_fits_its_place_and_shows_names_and_states(open_page, width):  # noqa: F811
    page = open_page(viewport={"width": width, "height": 800})  # noqa: F811
    now = timezone.now()
    names = [f"{DEEP}/summary-for-the-board-Q1-{end}.pdf" for end in ("draft", "final", "old")]
    make(*names, missing_at=now, size=1000, content_type="application/pdf", modified_at=now)
    page.goto(f"{LIST}?q=board")
    assert [place for place in page.evaluate(PLACES) if place[0] > place[1]] == []
    assert page.evaluate(WIDTHS) == [width, 0]
    expect(page.locator("#result_list .field-key")).to_have_text(names)
    assert page.evaluate(ENDS, "#result_list .field-key a") == [True] * 3
    assert page.evaluate(LINES, "#result_list .field-key a") == [2] * 3
    expect(page.locator(".files-state").last).to_be_in_viewport(ratio=1)
    select = page.locator(".actions select").bounding_box()
    results = page.locator(".results").bounding_box()
    assert select["x"] + select["width"] <= results["x"] + results["width"]
    choose(page, "Move to another folder")
    assert page.evaluate(ENDS, "#content-main form li:has(.files-path)") == [True] * 3


def test_usual_types_take_one_line_and_long_ones_two(open_page):  # noqa: F811
    page = open_page(viewport={"width": 1280, "height": 800})  # noqa: F811
    for kind in ("application/json", "image/svg+xml", "text/markdown", SHEET, "a/" + "b" * 253):
        make(f"{len(kind):03}{kind[-1]}", content_type=kind)
    page.goto(LIST)
    assert page.evaluate(LINES, ".files-type") == [1, 1, 1, 2, 2]
    expect(page.locator(".files-type").nth(3)).to_have_attribute("title", SHEET)


@pytest.mark.parametrize("look", ["light", "narrow"])
def test_a_history_of_long_keys_fits_its_place(open_page, make_file, look):  # noqa: F811
    page = open_page(**LOOKS[look])  # noqa: F811
    file = make_file(LONG)
    changes.rename(User.objects.get(), file, "a")
    page.goto(f"{LIST}{file.pk}/history/")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    action = "#change-history td:last-child"
    assert page.evaluate(LINES, action) == [2]
    expect(page.locator(action)).to_have_attribute("title", f"Renamed from {LONG}.")
    page.locator(action).focus()
    assert page.evaluate(LINES, action) > [5]


def test_files_come_within_the_first_screen_of_a_phone(open_page):  # noqa: F811
    page = open_page(**PHONE)  # noqa: F811
    make(*(f"{number}.txt" for number in range(20)), size=1)
    Work.objects.create(user_id=User.objects.get().pk, title="Move", url=LIST)
    page.goto(LIST)
    box = page.locator("#files tr").nth(7).bounding_box()
    assert box["y"] + box["height"] < PHONE["viewport"]["height"]


WIDTHS = """[
    document.scrollingElement.scrollWidth,
    document.querySelector(".results").scrollWidth - document.querySelector(".results").clientWidth,
]"""


def test_each_line_of_buttons_begins_at_the_margin_of_a_phone(open_page, make_file):  # noqa: F811
    page = open_page(**PHONE)  # noqa: F811
    page.goto(detail(make_file("a.txt")))
    boxes = [tool.bounding_box() for tool in page.locator(".object-tools li").all()]
    lines = {box["y"]: box["x"] for box in reversed(boxes)}
    assert list(lines.values()) == [15, 15]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_undo_looks_as_other_buttons(open_page, scheme):  # noqa: F811
    page = open_page(color_scheme=scheme)  # noqa: F811
    make("a.txt", "b.txt")
    page.goto(LIST)
    choose(page, "Move to trash")
    look = "e => ['backgroundColor', 'color', 'borderStyle'].map(name => getComputedStyle(e)[name])"
    undo = page.get_by_role("button", name="Undo").evaluate(look)
    assert undo == page.locator("#files-upload .button").first.evaluate(look)


@pytest.mark.parametrize("permissions", [[], ["view_file"]])  # with boxes, and without
def test_states_are_seen_on_a_phone(open_page, permissions):  # noqa: F811
    page = open_page(*permissions, **PHONE)  # noqa: F811
    now = timezone.now()
    make("a/b", "well.txt", size=1000, content_type="text/plain", modified_at=now)
    make(f"{'long' * 40}.txt", missing_at=now, size=1000, content_type=SHEET, modified_at=now)
    page.goto(LIST)
    expect(page.locator(".files-state")).to_be_in_viewport(ratio=1)
    assert page.evaluate(WIDTHS) == [375, 0]
    row = page.locator("#result_list tbody tr").filter(has_text="well.txt")
    assert row.inner_text().split() == ["well.txt", "1000", "bytes"]


def test_times_in_the_trash_are_seen_on_a_phone(open_page):  # noqa: F811
    page = open_page(**PHONE)  # noqa: F811
    now = timezone.now()
    make(f"{'long' * 40}.txt", deleted_at=now, deleted_by="who" * 50, size=1000, content_type=SHEET)
    page.goto(f"{LIST}?state=trash")
    expect(page.get_by_role("cell", name="now")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("columnheader", name="In the trash since")).to_be_in_viewport(ratio=1)
    assert page.evaluate(WIDTHS) == [375, 0]
    assert page.evaluate(LINES, ".column-trashed .text a") == [1]


LINES = """selectors => [...document.querySelectorAll(selectors)].map(element => {
    const { fontSize, paddingTop, paddingBottom } = getComputedStyle(element);
    const height = element.clientHeight - parseFloat(paddingTop) - parseFloat(paddingBottom);
    return Math.round(height / parseFloat(fontSize) / 1.3);
})"""
NAMES = "h1, ol.breadcrumbs, #content-main form li, .field-key :is(a, .readonly)"


@pytest.mark.parametrize("look", ["light", "narrow"])
def test_a_long_key_takes_two_lines(open_page, make_file, look):  # noqa: F811
    page = open_page(**LOOKS[look])  # noqa: F811
    file = make_file(LONG)
    page.goto(f"{LIST}?q=long")
    lines = page.evaluate(LINES, NAMES)
    choose(page, "Move to another folder")
    expect(page.locator("h1")).to_have_text("Move to another folder")
    lines += page.evaluate(LINES, NAMES)
    page.goto(f"{LIST}{file.pk}/rename/")
    lines += page.evaluate(LINES, NAMES)
    page.goto(detail(file))
    lines += page.evaluate(LINES, NAMES)
    assert (len(lines), max(lines)) == (11, 2)
    expect(page.locator(".field-key .readonly")).to_have_css("padding-bottom", "0px")
    page.get_by_role("button", name="Move to trash").click()
    expect(page.locator(".messagelist")).to_contain_text(f"“{brief(LONG)}”: Moved to the trash.")


def test_the_name_of_a_folder_stands_beside_its_icon(open_page):  # noqa: F811
    page = open_page(**PHONE)  # noqa: F811
    make("short/a", f"{'x' * 200}/a")
    page.goto(LIST)
    for folder in ("short/", f"{'x' * 200}/"):
        icon = link(page, f"Folder {folder}").locator("img").bounding_box()
        name = link(page, f"Folder {folder}").evaluate(FIRST_LETTER)
        assert icon["x"] + icon["width"] <= name["x"]
        assert icon["y"] <= name["y"] + name["height"] / 2 <= icon["y"] + icon["height"]


def test_the_rest_of_a_long_key_is_shown_on_demand(page, make_file):  # noqa: F811
    page.goto(detail(make_file(LONG)))
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_attribute("title", re.compile(r"x{326}\.txt$"))
    title.focus()
    assert page.evaluate(LINES, "h1") > [5]
    key = page.locator(".field-key .readonly")
    expect(key).to_have_attribute("title", LONG)
    key.focus()
    assert page.evaluate(LINES, ".field-key .readonly") > [5]
    between = page.locator(".files-between summary")
    between.click()
    step(page, "0123456789/").first.click()
    expect_rows(page, "0123456789/")
