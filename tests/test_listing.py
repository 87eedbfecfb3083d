"""Lists: folders, pages, estimates."""

import itertools

import pytest
from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from files import listing
from files.models import File

pytestmark = pytest.mark.django_db

KEYS = ["/root/a", "/b", "a", "a//b", "a/b", "a/b/c", "a/b/d/e", "a0", "a/", "ü/x", "z", "//"]


def make(keys, **values):
    return File.objects.bulk_create([File(object_key=key, **values) for key in keys])


def inside(folder):
    return listing.inside(File.objects.live(), folder)


def walk(folder, *, files=None, **options):
    """Return what forward and backward paging shows, each as a list of names."""
    forward, backward = [], []
    files = inside(folder) if files is None else files
    page = listing.page(files, folder=folder, **options)
    while True:
        forward += [*page.folders, *map(str, page.files)]
        if page.next is None:
            break
        page = listing.page(files, folder=folder, after=page.next, **options)
    while True:
        backward = [*page.folders, *map(str, page.files), *backward]
        if page.previous is None:
            return forward, backward
        page = listing.page(files, folder=folder, before=page.previous, **options)


def as_s3(keys, folder):
    """Return folders and files as S3 lists them with a delimiter."""
    folders, files = set(), []
    for key in sorted(keys, key=str.encode):
        if key.startswith(folder):
            name, slash, _rest = key.removeprefix(folder).partition("/")
            if slash:
                folders.add(folder + name + slash)
            else:
                files.append(key)
    return sorted(folders, key=str.encode), files


@pytest.mark.parametrize("folder", ["", "/", "//", "a/", "a//", "a/b/", "a/b/d/", "ü/", "none/"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_folder_is_listed_as_s3_lists_it(folder, limit):
    make(KEYS)
    folders, files = as_s3(KEYS, folder)
    forward, backward = walk(folder, limit=limit)
    assert forward == folders + files
    assert forward[-len(backward) :] == backward or not files + folders


@given(st.lists(st.text(alphabet="ab/ü0.", min_size=1, max_size=6), unique=True, max_size=25))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_keys_are_listed_as_s3_lists_them(django_db_blocker, keys):
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE files")
    make(keys)
    for folder in {"", *(key[: key.rfind("/") + 1] for key in keys)}:
        folders, files = as_s3(keys, folder)
        assert walk(folder, limit=3)[0] == folders + files


@pytest.mark.parametrize("order", listing.ORDERS)
@pytest.mark.parametrize("descending", [False, True])
def test_every_order_shows_each_file_once(order, descending):
    for size, key in zip(itertools.cycle([None, 0, 5, 5, 7]), "abcdefghij", strict=False):
        trashed = f"2026-02-0{9 - ord(key) % 5}T00Z" if order == "deleted_at" else None
        modified_at = None if size is None else f"2026-01-0{size + 1}T00Z"
        make([key], size=size, modified_at=modified_at, deleted_at=trashed)
    files = File.objects.all()
    forward, backward = walk("", files=files, order=order, descending=descending, limit=3)
    assert sorted(forward) == list("abcdefghij")
    assert backward == forward
    rows = {str(file): file for file in File.objects.all()}
    values = [
        {"object_key": key, "size": rows[key].size or 0, "deleted_at": rows[key].deleted_at}.get(
            order
        )
        or (rows[key].modified_at or rows[key].created_at)
        for key in forward
    ]
    if order != "size":
        assert values == sorted(values, reverse=descending)


def test_the_first_page_is_whole_when_rows_came_before_it():
    make("cdefgh")
    second = listing.page(inside(""), folder="", limit=3, after='["file", "e"]')
    make("ab")
    first = listing.page(inside(""), folder="", limit=6, before=second.previous)
    assert [str(file) for file in first.files] == list("abcdef")
    assert (first.previous, first.next) == (None, '["file", "f"]')


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "[]",
        "{}",
        '["file", "a\\u0000"]',
        '["other", 1]',
        '["file"]',
        '["file", 1, 2]',
        '["file", "\0"]',
        '["file", ""]',
        '["file", "\\ud800"]',
        '["file", ["a"]]',
        '["folder", "a/"]',
        '[["file"], "a"]',
        '{"file": "a"}',
        "5",
        "null",
        "[" * 100_000,
    ],
    ids=lambda cursor: cursor[:20],
)
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(listing.CursorError):
        listing.page(File.objects.live(), after=cursor)


def test_files_in_the_trash_make_no_folder():
    make(["a/b"])
    make(["trash/x"], deleted_at="2026-01-01T00:00Z")
    assert listing.page(inside(""), folder="").folders == ["a/"]


def test_below_is_everything_that_begins_with_the_folder():
    make(KEYS)
    for folder in ("", "a/", "/", "a//"):
        found = File.objects.below(folder).values_list("object_key", flat=True)
        assert list(found) == sorted((k for k in KEYS if k.startswith(folder)), key=str.encode)


def analyze():
    """Let the planner know the rows that there are: what it knew of other tests' rows stays."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE files")


def explain(sql, *options):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for name in options:
            cursor.execute(f"SET LOCAL {name} = off")
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize(
    ("order", "index"),
    [("object_key", "files_folder"), ("size", "files_size"), ("modified_at", "files_modified")],
)
def test_a_page_is_read_from_an_index(order, index):
    make([*KEYS, *(f"other/{number}" for number in range(1000))])
    analyze()
    cursor = listing._encode(File.objects.all()[3], order)
    files = inside("") if order == "object_key" else File.objects.live()
    with CaptureQueriesContext(connection) as queries:
        listing.page(files, folder="", order=order, after=cursor)
    plan = explain(queries[-1]["sql"], "enable_sort")
    assert f"Index Scan using {index}" in plan
    assert "Index Cond" in plan
    assert "Sort" not in plan


def test_folders_are_read_from_an_index():
    make([*KEYS, *(f"other/{number}" for number in range(1000))])
    analyze()
    with CaptureQueriesContext(connection) as queries:
        listing.page(inside(""), folder="", limit=1)
    plan = explain(queries[0]["sql"], "enable_sort")
    assert "Index Only Scan using files_folder" in plan
    assert "Index Cond" in plan
    assert "Sort" not in plan


def test_a_search_is_read_from_its_index():
    make(KEYS)
    with CaptureQueriesContext(connection) as queries:
        list(listing.search(File.objects.all(), "root").order_by())
    assert "Index Scan on files_search" in explain(queries[-1]["sql"], "enable_indexscan")


def test_usage_counts_files_and_bytes(monkeypatch):
    make("abcde", size=10)
    make("f")
    monkeypatch.setattr(listing, "BATCH", 2)
    assert listing.usage(File.objects.all()) == (6, 50, True)


def test_usage_stops_in_time(monkeypatch):
    make("abcde", size=10)
    monkeypatch.setattr(listing, "BATCH", 2)
    assert listing.usage(File.objects.all(), seconds=0) == (2, 20, False)


def test_the_estimate_is_that_of_the_planner():
    make(map(str, range(300)))
    analyze()
    assert listing.estimate(File.objects.all()) == 300


def test_what_takes_too_long_is_ended():
    with (
        pytest.raises(listing.TooSlowError),
        listing.time_limit(0.05),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_sleep(5)")


def test_some_are_found_wherever_they_are():
    make([*(f"other/{number}" for number in range(2000)), *(f"x/{n}" for n in range(300))])
    found = listing.some(listing.search(File.objects.all(), "X/"), 300, 100)
    assert len({str(file) for file in found if str(file).startswith("x/")}) == 100


@pytest.mark.parametrize(("word", "expected"), [("x", 10), ("other", 10**12)])
def test_fewer_than_are_wanted_are_not_some(word, expected):
    make([*(f"other/{number}" for number in range(200)), *"xyz"])
    assert listing.some(listing.search(File.objects.all(), word), expected, 100) == []


def test_some_are_not_looked_for_long():
    make("abc")
    slow = RawSQL("pg_sleep(5) IS NOT NULL", [], output_field=BooleanField())
    assert listing.some(File.objects.filter(slow), 3, 3) == []


def test_some_are_read_from_blocks_that_lie_anywhere():
    make([f"other/{number}" for number in range(2000)])
    analyze()
    with CaptureQueriesContext(connection) as queries:
        listing.some(listing.search(File.objects.live(), "other"), 10**6, 100)
    (sql,) = [query["sql"] for query in queries if "TABLESAMPLE" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Tid Scan on files" in plan
    assert "Sample Scan on files" in plan
    assert "Seq Scan" not in plan
