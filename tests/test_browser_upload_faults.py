"""Uploads in a real browser: outages, other tabs and users, keys and files that change."""

# ruff: noqa: F811 - fixtures

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import expect

from files import operations
from files.models import File, Operation
from tests.test_browser import (  # noqa: F401 - fixtures, too
    LIST,
    PART,
    assert_conflict,
    browser,
    choose,
    errors,
    expect_states,
    keys,
    log_in,
    make,
    open_page,
    page,
    payload,
)
from tests.test_browser_uploads import (  # noqa: F401 - fixtures, too
    _small_parts,
    broken_off,
    expect_held,
    hold,
    in_store,
    large,
    open_uploads,
    put_numbers,
    rows,
    send_some,
)
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

API = "**/api/**"


def press(row, name):
    row.get_by_role("button", name=name, exact=False).first.click()


def text_of(row):
    return row.locator(".files-text")


def refuse(page, status=503):
    """Let nothing reach the server; return what lets it again."""
    page.route(API, lambda route: route.fulfill(status=status) if status else route.abort())
    return lambda: page.unroute(API)


# Outages


@pytest.mark.parametrize("status", [0, 503])
def test_a_short_outage_costs_nothing(page, errors, status):
    page.goto(LIST)
    allow, refused = refuse(page, status), []
    page.on("requestfinished" if status else "requestfailed", lambda _: refused.append(allow()))
    expect_states(choose(page, payload("a.txt")), "done")
    assert (keys(), bool(refused)) == (["a.txt"], True)
    errors.clear()


def test_an_outage_stops_what_waits_and_all_goes_on_afterwards(page, errors):
    allow = refuse(page)
    page.goto(LIST)
    uploading = choose(page, *(payload(f"{number}.txt") for number in range(5)))
    expect_states(uploading, "failed", "failed", "waiting", "waiting", "waiting")
    expect(text_of(uploading.first)).to_have_text(
        "The upload failed. (503) It is tried again in a moment."
    )
    allow()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect_states(uploading, *["done"] * 5)
    assert len(keys()) == 5
    errors.clear()


def test_what_an_outage_broke_off_is_tried_again_by_itself(page, errors):
    page.clock.install()
    allow = refuse(page, 0)
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    eventually(
        lambda: page.clock.run_for(500) or uploading.get_attribute("data-state"),
        "failed",
    )
    allow()
    page.clock.run_for(30_000)
    expect_states(uploading, "done")
    errors.clear()


def test_all_are_canceled_at_once(page, errors):
    page.route(API, lambda route: None)
    page.goto(LIST)
    uploading = choose(page, *(payload(f"{number}.txt") for number in range(4)))
    expect_states(uploading, "running", "running", "waiting", "waiting")
    page.get_by_role("button", name="Cancel all").click()
    expect_states(uploading, *["canceled"] * 4)
    expect(page.locator(".files-done")).to_have_text("Canceled: 4.")
    expect(page.get_by_role("button", name="Cancel all")).to_be_hidden()
    assert keys() == []


# Other tabs, and other users


def test_cancel_leaves_nothing_while_other_tabs_show_the_list(page, storage, large):
    send_some(page, large, storage, 1)
    others = [page.context.new_page() for _ in range(2)]
    for other in others:
        other.goto(LIST)
    press(rows(page), "Cancel")
    expect_states(rows(page), "canceled")
    eventually(lambda: page.wait_for_timeout(20) or open_uploads(storage), [])
    assert (in_store(page, "uploads"), Operation.objects.count()) == (0, 0)
    for other in others:
        expect(rows(other)).to_have_count(0)


def test_another_tab_cancels_nothing_that_goes_on(broken_off, large):
    other = broken_off.context.new_page()
    other.goto(LIST)
    expect_states(rows(other), "unfinished")
    held = hold(broken_off)
    with broken_off.expect_file_chooser() as chooser:
        press(rows(broken_off), "Go on")
    chooser.value.set_files(large)
    eventually(lambda: broken_off.wait_for_timeout(20) or sorted(held), [2])
    press(rows(other), "Cancel")
    expect(text_of(rows(other))).to_have_text("Another tab sends this file.")
    expect_states(rows(other), "unfinished")
    held[2].continue_()
    expect_states(rows(broken_off), "done")
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect_states(rows(other), "canceled")
    expect(text_of(rows(other))).to_have_text("It has ended in another tab.")


def test_nothing_is_sent_in_the_name_of_somebody_else(page, live_server, errors):
    user = User.objects.get()
    page.goto(LIST)

    def enter(session):
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page.context.new_page().goto(LIST)  # with the token of that session

    enter(log_in())
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "failed")
    expect(text_of(uploading)).to_contain_text("somebody else is logged in")
    assert keys() == []
    client = Client()
    client.force_login(user)
    enter(client.cookies["sessionid"].value)
    press(uploading, "Try again")
    expect_states(uploading, "done")
    assert {re.search("401", error)[0] for error in errors} == {"401"}
    errors.clear()


# Keys that are taken, and files that change


def test_a_replacement_is_of_the_key_that_was_asked_for_alone(open_page, make_file, errors):
    codenames = ["view_file", "add_file", "replace_file"]
    page = open_page(*codenames)
    file, other = make_file("a.txt", b"old"), make_file("a (2).txt", b"precious")
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    held = []
    page.route("**/api/files/?*", lambda route: held.append(route))
    press(uploading, "Replace")
    eventually(lambda: page.wait_for_timeout(20) or len(held), 1)
    file.trash()
    held[0].continue_()
    page.unroute("**/api/files/?*")
    expect_states(uploading, "taken")
    press(uploading, "Keep both")
    expect_states(uploading, "done")
    assert File.objects.get(pk=other.pk).read_text() == "precious"
    assert keys() == ["a (2).txt", "a (3).txt"]
    assert_conflict(errors)


def test_keys_to_keep_both_come_to_an_end(page, errors):
    make("a.txt", *(f"a ({number}).txt" for number in range(2, 101)))
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    press(uploading, "Keep both")
    replace, *others = ["Replace: a.txt", "Another key: a.txt", "Skip: a.txt"]
    expect(uploading.get_by_role("button", name=replace)).to_be_visible()
    expect(uploading.get_by_role("button")).to_have_text(["Replace", "Another key", "Skip"])
    assert [uploading.get_by_role("button", name=name).count() for name in others] == [1, 1]
    assert_conflict(errors)


def test_another_key_is_asked_for_where_one_cannot_be(page, make_file, errors):
    make_file("a.txt")
    page.goto(LIST)
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "taken")
    page.once("dialog", lambda dialog: dialog.accept(".files/a"))
    press(uploading, "Another key")
    expect_states(uploading, "failed")
    page.once("dialog", lambda dialog: dialog.accept("b.txt"))
    press(uploading, "Another key")
    expect_states(uploading, "done")
    assert keys() == ["a.txt", "b.txt"]
    errors.clear()


def test_a_key_taken_before_the_last_step_is_asked_for(page, make_file, large, errors):
    page.route("**/api/uploads/finish/", lambda route: None)
    page.goto(LIST)
    choose(page, large)
    expect_states(rows(page), "storing")
    make_file("large.bin", b"old")
    page.reload()
    expect_states(rows(page), "storing")
    page.unroute("**/api/uploads/finish/")
    expect_states(rows(page), "failed")
    expect(rows(page).get_by_role("button")).to_have_text(["Choose it again", "Cancel"])
    with page.expect_file_chooser() as chooser:
        press(rows(page), "Choose it again")
    chooser.value.set_files(large)
    expect_states(rows(page), "taken")
    press(rows(page), "Keep both")
    expect_states(rows(page), "done")
    assert keys() == ["large (2).bin", "large.bin"]
    assert_conflict(errors)


def test_a_file_that_was_removed_is_chosen_again(page, large, tmp_path, errors):
    held = []
    page.route("**/api/uploads/", lambda route: held.append(route))
    page.goto(LIST)
    choose(page, large)
    eventually(lambda: page.wait_for_timeout(20) or len(held), 1)
    content = large.read_bytes()
    large.unlink()
    held[0].continue_()
    page.unroute("**/api/uploads/")
    expect_states(rows(page), "failed")
    text = "The file was changed or removed: choose it again."
    expect(text_of(rows(page))).to_have_text(text)
    large.write_bytes(content)
    with page.expect_file_chooser() as chooser:
        press(rows(page), "Choose it again")
    chooser.value.set_files(large)
    expect_states(rows(page), "done")
    errors.clear()


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_file_that_is_chosen_again_goes_on_once(page, storage, large, put_numbers, is_paused):
    sent = put_numbers(page)
    send_some(page, large, storage, 1)
    eventually(lambda: page.wait_for_timeout(20) or sorted(sent), [1, 2])
    if is_paused:
        press(rows(page), "Pause")
        expect_states(rows(page), "paused")
        page.context.unroute_all(behavior="ignoreErrors")
        sent.clear()
    choose(page, large)
    expect(rows(page)).to_have_count(1)
    if is_paused:
        expect_states(rows(page), "done")
        assert (sent, keys()) == ([2], ["large.bin"])
    else:
        press(rows(page), "Cancel")
        expect_states(rows(page), "canceled")
        eventually(lambda: page.wait_for_timeout(20) or open_uploads(storage), [])


def test_a_comparison_that_is_broken_off_forgets_nothing(page):
    page.goto(LIST)
    script = """async () => {
        const { Parts } = await import("/static/files/uploads/parts.js");
        const parts = [1, 2].map((number) => ({ number, size: 1 })); // with no digests of S3's
        const kept = new Parts({ ask: async () => ({ parts }) }, { forgetPart() {} },
            { ticket: "t", size: 2, partSize: 1 });
        const noted = new Map([[1, "one"], [2, "two"]]);
        kept.digests = noted;
        let asked = 0;
        const signal = { throwIfAborted() { asked += 1; if (asked === 2) { throw asked; } } };
        await kept.compare(new Blob(["ab"]), signal).catch(() => undefined);
        return [asked, kept.digests.size];
    }"""
    assert page.evaluate(script) == [2, 2]


def test_an_upload_that_begins_anew_can_be_canceled(page, storage, large, errors):
    send_some(page, large, storage, 1)
    press(rows(page), "Pause")
    expect_states(rows(page), "paused")
    page.context.unroute_all(behavior="ignoreErrors")
    operations.end(Operation.objects.get())
    page.route("**/api/uploads/", lambda route: None)
    press(rows(page), "Resume")
    expect(text_of(rows(page))).to_have_text("What had been sent is gone: it begins anew.")
    expect(rows(page).get_by_role("button")).to_have_text(["Cancel"])
    press(rows(page), "Cancel")
    expect_states(rows(page), "canceled")
    errors.clear()


# What is shown


def test_a_long_key_takes_two_lines_of_the_panel(page):
    page.goto(f"{LIST}?folder={'long/' * 100}")
    uploading = choose(page, payload("a.txt"))
    expect_states(uploading, "done")
    name = uploading.locator(".files-name")
    height = "element => element.clientHeight / parseFloat(getComputedStyle(element).lineHeight)"
    assert round(name.evaluate(height)) == 2
    name.get_by_role("link").focus()
    assert round(name.evaluate(height)) > 2


def test_what_has_hardly_begun_tells_no_time(page):
    page.goto(LIST)
    script = """async () => {
        const { totals } = await import("/static/files/uploads/totals.js");
        const config = JSON.parse(document.querySelector("#files-upload-config").textContent);
        const uploads = [{ isCounted: true, state: "running", size: 2 ** 40, loaded: 0 }];
        return totals(uploads, { speed: () => 1 }, config).text;
    }"""
    assert page.evaluate(script) == "0\xa0bytes of 1.0\xa0TB, files: 0 of 1 · 1\xa0byte/s"


def test_uploads_that_wait_stand_in_their_turn_behind_what_goes_on(page):
    page.route(API, lambda route: None)
    page.goto(LIST)
    choose(page, *(payload(f"{number}.txt") for number in range(3)))
    uploading = choose(page, payload("later.txt"))
    expect(uploading.locator(".files-name")).to_have_text(["0.txt", "1.txt", "2.txt", "later.txt"])
    page.get_by_role("button", name="Cancel all").click()
