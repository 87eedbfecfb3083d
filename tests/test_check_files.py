"""`manage.py check_files`."""

import functools
import json
import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from files.catalogue import walk
from files.models import File, Operation
from files.storage import listing
from tests.processes import ROOT, heed_signals, manage, run_command

pytestmark = pytest.mark.django_db


check = functools.partial(run_command, "check_files")


@pytest.fixture
def sides(make_file, put, storage):
    """Make a file that is whole, one without its object, one that differs, and an object alone."""
    for key in ("a/same", "a/missing", "b/other"):
        make_file(key)
    storage.delete("a/missing")
    put("b/other", b"theirs")
    put("a\talone", b"text")


def test_each_difference_has_a_line_in_the_order_of_the_keys(sides):
    lines, summary, status = check()
    assert (lines, status) == (["+ a␉alone", "- a/missing", "* b/other"], 1)
    assert summary == (
        "3 objects, 3 rows: 1 row without an object, 1 object without a row, 1 that differs.\n"
    )


def test_a_catalogue_in_step_is_status_0(make_file):
    make_file("a")
    assert check()[::2] == ([], 0)
    assert check("--all")[::2] == (["= a"], 0)


def test_only_some_signs_are_told(sides):
    assert check("--only=-*")[::2] == (["- a/missing", "* b/other"], 1)
    assert check("a/", "--only=*")[::2] == ([], 0)
    assert check("b/")[0] == ["* b/other"]
    assert check("--after=a/missing")[0] == ["* b/other"]


def test_json_has_the_exact_key_and_both_sides(sides):
    found = [json.loads(line) for line in check("--json")[0]]
    file = File.objects.get(object_key="b/other")
    assert [(each["sign"], each["key"]) for each in found[:2]] == [
        ("+", "a\talone"),
        ("-", "a/missing"),
    ]
    assert found[2]["row"] == {"id": file.pk, "size": 4, "etag": file.etag}
    assert found[2]["object"]["size"] == 6
    assert (found[0]["row"], found[1]["object"]) == (None, None)


def test_the_trash_and_what_is_under_way_are_no_difference(make_file, put, storage):
    make_file("kept").trash()
    make_file("gone").trash()
    storage.delete("gone")
    put("under way", b"text")
    Operation.begin("create", "under way")
    assert check()[::2] == ([], 0)


def test_what_others_keep_below_the_reserved_prefix_is_told(put):
    put(".files/theirs", b"text")
    assert check()[::2] == (["+ .files/theirs"], 1)


def test_a_key_that_no_row_can_hold_is_told(put_nul):
    assert check()[0] == ["+ a␀b"]
    assert json.loads(check("--json")[0][0])["key"] == "a\0b"


def test_marks_are_set_and_taken_away(sides, put, storage):
    def marked():
        rows = File.objects.order_by("object_key")
        return {str(row): (bool(row.missing_at), bool(row.changed_at)) for row in rows}

    check()
    assert set(marked().values()) == {(False, False)}
    check("--mark")
    found = {"a/missing": (True, False), "a/same": (False, False), "b/other": (False, True)}
    assert marked() == found
    since = File.objects.values_list("missing_at", "changed_at")
    before = list(since)
    check("--mark")
    assert list(since) == before
    put("a/missing", b"text")
    put("b/other", b"text")
    storage.delete("a\talone")
    assert check("--mark")[::2] == ([], 0)
    assert set(marked().values()) == {(False, False)}


@pytest.mark.needs("archived objects")
def test_archived_objects_are_counted(make_file):
    make_file("a", StorageClass="GLACIER")
    assert "1 archived" in check()[1]


@pytest.fixture
def many(make_file, put, monkeypatch):
    """Make 40 objects in as many stretches, every other with a row."""
    monkeypatch.setattr(listing, "PAGE", 1)
    monkeypatch.setattr(walk, "ROWS", 2)
    for number in range(40):
        (put if number % 2 else make_file)(f"{number:02}", b"text")


@pytest.mark.needs("pages of listings")
def test_a_listing_that_fails_on_its_way_is_status_2_and_is_gone_on_with(many, proxy):
    proxy.faults = [None] * 30 + [("status", 503)] * 3
    lines, summary, status = check("--workers=1")
    assert (lines[-1].partition(":")[0], status) == ("! keys that begin with ''", 2)
    told, after = lines[:-1], summary.partition("--after=")[2].partition("`")[0]
    assert 0 < len(told) < 20
    rest = check(f"--after={after}", "--workers=1")[0]
    assert told + rest == [f"+ {number:02}" for number in range(1, 40, 2)]


def test_s3_out_of_reach_is_one_sentence(make_file, unreachable):
    make_file("a")
    unreachable()
    lines, _, status = check("--workers=1")
    assert (len(lines), status) == (1, 2)
    assert lines[0].startswith("! keys that begin with '': S3 is out of reach")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary_and_how_to_go_on(
    transactional_db, make_file, proxy, number
):
    make_file("a")
    proxy.faults = [("call", 0)]
    proxy.on_call = lambda: running.send_signal(number)
    running = subprocess.Popen(
        [sys.executable, "manage.py", "check_files", "a\tb", "--after=a"],
        cwd=ROOT,
        env=os.environ | {"AWS_ENDPOINT_URL_S3": f"http://{proxy.host}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    stdout, stderr = running.communicate(timeout=60)
    assert (stdout, running.returncode) == ("", 128 + number)
    assert stderr.startswith("Interrupted: 0 objects, 0 rows: ")
    assert stderr.endswith(
        "Go on by `manage.py check_files 'a\tb' --after=a`, with the same options.\n"
    )


def test_a_reader_that_has_seen_enough_ends_it_quietly(transactional_db, put):
    for number in range(100):
        put(f"{number:03}{'x' * 1000}", b"")
    running = subprocess.Popen(
        [sys.executable, "manage.py", "check_files"],
        cwd=ROOT,
        env=os.environ | {"APP_DB_NAME": connection.settings_dict["NAME"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout.read(4) == b"+ 00", running.stderr.read()
    running.stdout.close()
    stderr = running.stderr.read()
    running.stderr.close()
    assert (stderr, running.wait(60)) == (b"", 128 + signal.SIGPIPE)


def test_a_database_without_our_table_is_one_sentence():
    done = manage("check_files")
    assert (done.stdout, done.returncode) == (b"", 2)
    assert done.stderr == b"CommandError: The table is not ours yet: run `manage.py migrate`.\n"


def test_bad_options_are_one_sentence():
    for option in ("--only=x", "--workers=0", "--workers=x"):
        done = manage("check_files", option)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(b"manage.py check_files: error: argument")
