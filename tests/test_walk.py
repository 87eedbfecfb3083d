"""The walk through bucket and rows, and what it sees while others change both."""

import contextlib
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError

from files import operations
from files.catalogue import walk
from files.catalogue.check import check
from files.catalogue.importing import import_objects
from files.catalogue.parts import Part, cut, each
from files.catalogue.sync import BUSY, SAME, sync
from files.catalogue.walk import Walk
from files.models import File, Operation
from files.storage import S3Error, listing
from tests import s3_servers
from tests.faults import Kill, KilledError, Steps
from tests.operations import execute
from tests.test_storage import KEYS

NAMES = sorted({*KEYS, "a", "a/", "a/b", "a0", "b/c/d", "\uffee", "😀", "z"})


@pytest.fixture
def sides(put, db, monkeypatch):
    """Make objects and rows of some keys each, with three on a page and two rows in a stretch."""
    monkeypatch.setattr(listing, "PAGE", 3)
    monkeypatch.setattr(walk, "ROWS", 2)

    def sides(objects, rows):
        for key in objects:
            put(key, b"text")
        File.objects.bulk_create(File(object_key=key) for key in rows)

    return sides


def walked(*part):
    """Return the keys of both sides, and check that each stretch has its own part of them."""
    objects, rows, bounds = [], [], []
    for stretch in Walk(Part(*part)).stretches():
        for key in [*stretch.objects, *stretch.rows]:
            assert key > stretch.after
            assert stretch.upto is None or key <= stretch.upto
        objects += stretch.objects
        rows += stretch.rows
        bounds.append((stretch.after, stretch.upto))
    assert [upto for _after, upto in bounds[:-1]] == [after for after, _upto in bounds[1:]]
    return objects, rows


@pytest.mark.needs("pages of listings")
@pytest.mark.parametrize("seed", range(5))
def test_both_sides_are_seen_whole_and_in_the_order_of_their_bytes(sides, seed):
    chosen = random.Random(seed)
    objects, rows = (chosen.sample(NAMES, chosen.randint(0, len(NAMES))) for _ in range(2))
    sides(objects, rows)
    assert walked() == (sorted(objects, key=str.encode), sorted(rows, key=str.encode))


def test_a_part_has_its_own_keys_alone(sides):
    names = ["a", "a/a", "a/b", "a/c", "a/d", "b"]
    sides(names, names)
    assert walked("a/") == (["a/a", "a/b", "a/c", "a/d"],) * 2
    assert walked("a/", "a/a") == (["a/b", "a/c", "a/d"],) * 2
    assert walked("a/", "a/a", "a/c") == (["a/b", "a/c"],) * 2
    assert walked("", "a/c") == (["a/d", "b"],) * 2
    assert walked("none") == ([], [])


@pytest.mark.parametrize("has_rows", [True, False])
@pytest.mark.parametrize(
    "pattern",
    [
        "{}/{:02}",
        "data/{}{:02}",
        pytest.param("\U0010ffff{}{:02}", marks=pytest.mark.needs("pages of listings")),
    ],
)
def test_parts_make_up_the_whole(sides, pattern, has_rows):
    names = sorted(pattern.format(folder, number) for folder in "abcdef" for number in range(20))
    sides(names, names if has_rows else ())
    parts = cut(Part(), 2)
    assert len(parts) > 4
    found = [stretch.objects for part in parts for stretch in Walk(part).stretches()]
    assert [key for objects in found for key in objects] == names


@pytest.mark.needs("pages of listings")
@pytest.mark.parametrize("has_rows", [True, False])
def test_parts_of_a_part_make_up_that_part_alone(sides, has_rows):
    names = [f"{folder}/{number:02}" for folder in "abcdef" for number in range(20)]
    sides(names, names if has_rows else ())
    parts = cut(Part("", "b/05", "e/05"), 2)
    assert len(parts) > 4
    found = [stretch.objects for part in parts for stretch in Walk(part).stretches()]
    inside = [name for name in names if "b/05" < name <= "e/05"]
    assert [key for objects in found for key in objects] == inside


def test_a_small_bucket_is_one_part(sides):
    sides("ab", "ab")
    assert cut(Part("a"), 4) == [Part("a")]


def test_parts_are_worked_on_in_threads_and_told_in_order():
    parts = [Part(str(number)) for number in range(20)]

    def work(part):
        yield from [f"{part.prefix}.{number}" for number in range(50)]
        if part.prefix == "3":
            raise S3Error(5, "no answer")

    found = list(each(parts, 3, work))
    assert [item for _part, item in found if isinstance(item, str)] == [
        f"{part.prefix}.{number}" for part in parts for number in range(50)
    ]
    assert [part for part, item in found if isinstance(item, S3Error)] == [parts[3]]


def test_a_fault_of_ours_in_a_thread_is_raised_and_ends_the_others():
    with pytest.raises(ZeroDivisionError):
        list(each([Part(str(number)) for number in range(20)], 2, lambda part: iter([1 / 0])))


@pytest.mark.django_db(transaction=True)
def test_a_bucket_out_of_order_is_refused(monkeypatch, storage):
    with s3_servers.seaweedfs() as environ:
        monkeypatch.setattr(storage._wrapped, "endpoint_url", environ["AWS_ENDPOINT_URL_S3"])
        if not storage.client.list_buckets()["Buckets"]:
            storage.client.create_bucket(Bucket=storage.bucket_name)
        for key in ("a/b", "a-"):
            storage.save(key, ContentFile(b"text"))
        with pytest.raises(S3Error, match="not list this bucket in the order of the keys"):
            walked()


# While others work


def new():
    return File.objects.create(object_key=ContentFile(b"new", name="bb"))


def one():
    return File.objects.get(object_key="b")


MEANWHILE = {
    "create": new,
    "delete": lambda: one().delete(),
    "rename": lambda: one().rename("bb"),
    "replace": lambda: one().replace(ContentFile(b"other")),
    "trash": lambda: one().trash(),
    "adopt": lambda: File.objects.create(object_key="a"),
    "adopt and delete": lambda: File.objects.create(object_key="a").delete(),
    "finish a deletion": lambda: operations.end(Operation.objects.get()),
    "rename what differs": lambda: File.objects.get(object_key="f").rename("ff"),
}


REPLACES = pytest.param("replace", marks=pytest.mark.needs("conditional puts"))
ACTIONS = [REPLACES, *sorted(MEANWHILE.keys() - {"replace"})]


@pytest.fixture
def lay_out(transactional_db, make_file, put, storage):
    """Begin anew with files, a, which has no row, f, which differs, and a deletion of e."""

    def lay_out():
        execute("TRUNCATE files, files_operation")
        for key, _stat in storage.list():
            storage.delete(key)
        for key in "bcdef":
            make_file(key)
        put("a", b"theirs")
        put("f", b"theirs")
        file = File.objects.get(object_key="e")
        Operation.begin("delete", "e", file_id=file.pk, etag=file.etag)
        execute("DELETE FROM files WHERE object_key = 'e'")

    return lay_out


def at_each_step(lay_out, action, run):
    """Yield the step at which the action was done, and what the run returned.

    An action that waits for the transaction of the run is given up, and one too late refused.
    """

    def meanwhile():
        done.append(action)
        execute("SET lock_timeout = '50ms'")
        with contextlib.suppress(DatabaseError):
            MEANWHILE[action]()

    for step in itertools.count(1):
        done = []
        lay_out()
        with Steps(meanwhile=(step, meanwhile)):
            found = run()
        if not done:
            assert step > 4
            return
        yield step, found


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_changed_meanwhile_is_no_difference(lay_out, action):
    def differing():
        return [finding.key for checked in check(Part()) for finding in checked.findings]

    for step, found in at_each_step(lay_out, action, differing):
        expected = {"adopt": [["f"]], "rename what differs": [["a"]]}.get(action, [["a", "f"]])
        if action == "adopt and delete":  # it had no row when it was seen
            expected.append(["f"])
        assert found in expected, step


@pytest.mark.parametrize("action", ACTIONS)
def test_no_row_is_made_of_what_goes_meanwhile(lay_out, storage, action):
    for step, _found in at_each_step(
        lay_out, action, lambda: list(import_objects(Part(), update=True))
    ):
        for row in File.objects.all():
            assert row.etag == storage.stat(str(row)).etag, (step, row)
        assert not File.objects.filter(object_key="e").exists(), step


@pytest.mark.parametrize("action", ACTIONS)
def test_events_of_what_is_changed_meanwhile_settle_or_stay(lay_out, storage, action):
    keys = {"a", "b", "bb", "c", "d", "e", "f", "ff"}
    with ThreadPoolExecutor(1) as threads:
        for step, found in at_each_step(lay_out, action, lambda: sync(keys, threads)):
            for row in File.objects.all():
                assert row.etag == storage.stat(str(row)).etag, (step, row)
            settled = {key for key, outcome in found.items() if outcome != BUSY}
            assert not settled & operations.named(keys), step
            assert {BUSY, SAME}.issuperset(sync(settled, threads).values()), step


@pytest.mark.parametrize("step", [2, 3, 4])
def test_an_object_that_is_back_at_the_second_look_is_not_missing(
    transactional_db, make_file, put, storage, step
):
    make_file("z")
    storage.delete("z")
    for number in range(2 * walk.FEW):
        put(f"{number:02}", b"text")
    with Steps(meanwhile=(step, lambda: put("z", b"text"))):
        found = [finding.sign for checked in check(Part()) for finding in checked.findings]
    assert found == ["+"] * 2 * walk.FEW


def test_an_import_that_was_killed_is_made_whole_by_the_next(lay_out, monkeypatch):
    """At each step, with a page for each object."""
    monkeypatch.setattr(listing, "PAGE", 1)
    for step in itertools.count(1):
        lay_out()
        with contextlib.suppress(KilledError, DatabaseError), Steps(Kill(step)) as steps:
            list(import_objects(Part(), update=True))
        found = [
            len(part.added) + len(part.updated) for part in import_objects(Part(), update=True)
        ]
        keys = File.objects.values_list("object_key", flat=True)
        assert (list(keys), sum(found) <= 2) == (["a", "b", "c", "d", "f"], True), step
        if not steps.is_dead:
            assert (step > 20, sum(found)) == (True, 0)
            return
