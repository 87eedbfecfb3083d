"""The zone of the times on pages."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from project.zones import COOKIE, _zone
from tests.test_browser import LIST, browser, detail, errors, make, open_page  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2024, 7, 1, 12, 0, tzinfo=UTC)
INVALID = [
    "",
    "Nowhere/City",
    "../../etc/passwd",
    "/etc/localtime",
    "Europe",
    "zone.tab",
    "a\0b",
    "é",
]


@pytest.fixture
def shown(admin_client):
    """Return what tells of each text whether the list of a file of noon has it, by a cookie."""
    make("a.txt", missing_at=NOON, modified_at=NOON, created_at=NOON)

    def shown(cookie, *texts):
        admin_client.cookies[COOKIE] = cookie
        page = admin_client.get(LIST).content.decode()
        return [text in page for text in texts]

    return shown


def test_times_are_in_the_zone_of_the_cookie(shown):
    assert all(shown("Asia/Kolkata", "5:30 p.m. IST", "Times are in the zone Asia/Kolkata."))
    assert timezone.get_current_timezone_name() == "UTC"


def test_times_are_in_utc_without_a_cookie(admin_client):
    make("a.txt", modified_at=NOON)
    page = admin_client.get(LIST).content.decode()
    assert ("noon UTC" in page, "Times are in the zone UTC." in page) == (True, True)


@pytest.mark.parametrize("name", [*INVALID, "x" * 5000, "\ud800"])
def test_a_name_that_is_no_zone_is_utc(name):
    assert _zone(name).key == "UTC"


def test_a_cookie_that_is_no_zone_is_utc(shown):
    assert all(shown("../../etc/passwd", "noon UTC", "Times are in the zone UTC."))


def test_the_zone_is_for_no_form_that_takes_times(admin_client, django_user_model):
    joined = datetime(2024, 10, 27, 1, 30, tzinfo=UTC)  # which is 2:30 twice in Berlin
    user = django_user_model.objects.create_user("u", date_joined=joined)
    admin_client.cookies[COOKIE] = "Europe/Berlin"
    address = f"/admin/auth/user/{user.pk}/change/"
    form = admin_client.get(address).context["adminform"].form
    sent = {"username": "u", "date_joined_0": "2024-10-27", "date_joined_1": "01:30:00"}
    assert form["date_joined"].value() == joined
    assert admin_client.post(address, sent).status_code == 302
    user.refresh_from_db()
    assert user.date_joined == joined


def test_programs_read_utc(admin_client):
    make("a.txt", modified_at=NOON)
    admin_client.cookies[COOKIE] = "Asia/Kolkata"
    (found,) = admin_client.get("/api/files/").json()["files"]
    assert found["modified_at"] == "2024-07-01T12:00:00Z"


def test_a_browser_tells_its_zone(open_page):  # noqa: F811
    page = open_page(timezone_id="Pacific/Auckland")
    make("a.txt", modified_at=NOON)
    page.goto(LIST)
    expect(page.locator(".files-zone")).to_have_text("Times are in the zone UTC.")
    page.reload()
    expect(page.locator(".files-zone")).to_have_text("Times are in the zone Pacific/Auckland.")
    time = page.locator(".field-modified time")
    expect(time).to_have_attribute("title", "July 2, 2024, midnight NZST")
