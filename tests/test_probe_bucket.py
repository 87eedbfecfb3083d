"""What `manage.py probe_bucket` finds out, prints and leaves behind."""

import fcntl
import json
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import psutil
import pytest
from django.core.management import CommandError, call_command

from files.storage import ObjectStorage, S3Error, S3UnavailableError, bucket, client
from files.storage.bucket import Bucket
from files.storage.probe import PROMISES, QUICK, Promise, Result, ground, probe
from files.storage.probe.access import ON_BUCKET, ON_OBJECTS
from files.storage.probe.promises import NotAskedError
from project import aws, secretsmanager
from tests import location
from tests.processes import ROOT, heed_signals, manage
from tests.test_readme import README

LINES = {"ok": True, "-": None, "note": False, "FAILS": False}


def left(storage):
    """Return the keys of objects and uploads that are there."""
    uploads = location.client().list_multipart_uploads(Bucket=storage.bucket_name)
    keys = [key for key, stat in storage.list()]
    return keys + [upload["Key"] for upload in uploads.get("Uploads", ())]


@pytest.fixture
def run(capsys):
    """Return what runs probe_bucket here and returns its status, lines and sentence of error."""

    def run(*arguments):
        try:
            call_command("probe_bucket", *arguments)
        except CommandError as error:
            return error.returncode, capsys.readouterr().out, str(error)
        return 0, capsys.readouterr().out, ""

    return run


def test_each_promise_is_one_line_and_nothing_is_left(storage, run):
    status, output, error = run()
    lines = output.splitlines()
    assert [line[6:].split("  ")[0] for line in lines] == list(PROMISES)
    assert {line.split()[0] for line in lines} <= set(LINES)
    failing = [line[6:].split("  ")[0] for line in lines if line.startswith("FAILS")]
    text = f"This S3 breaks what the project needs: {', '.join(failing)}."
    assert (status, error) == ((1, text) if failing else (0, ""))
    assert left(storage) == []


def test_json_is_one_object_with_what_the_lines_tell(storage, capsys):
    call_command("probe_bucket", "--quick", "--json")
    found = json.loads(capsys.readouterr().out)
    promises = {
        result.promise.name: {
            "kept": result.kept,
            "needed": result.promise.is_needed,
            "detail": result.detail,
        }
        for result in probe(storage, QUICK)
    }
    endpoint = storage.client.meta.endpoint_url
    seconds = found.pop("seconds")
    assert found == {"bucket": storage.bucket_name, "endpoint": endpoint, "promises": promises}
    assert 0 <= seconds < 60


def test_quick_asks_for_the_bucket_alone_and_is_0_where_what_is_needed_is_kept(storage, capsys):
    call_command("probe_bucket", "--quick")
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:].split("  ")[0] for line in lines] == list(QUICK)
    assert [line.split()[0] for line in lines[:3]] == ["ok"] * 3


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "S3 is out of reach at"),
        ({"APP_BUCKET_NAME": "no-such-bucket-here"}, "404 NoSuchBucket"),
    ],
)
def test_a_bucket_that_cannot_be_asked_is_2_and_one_sentence(environ, text):
    found = manage("probe_bucket", environ=environ)
    assert (found.returncode, found.stdout) == (2, b"")
    assert found.stderr.count(b"\n") == 1
    assert f"cannot be asked: {text}"[:17] in found.stderr.decode()
    assert text in found.stderr.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_by_a_signal_leaves_nothing(storage, full_pipe, number):
    """It comes while the first line waits in a pipe that is full.

    In a finalizer Python would lose what the handler of the signal raises.
    """
    reader, writer = full_pipe
    command = [sys.executable, "-u", str(ROOT / "manage.py"), "probe_bucket"]
    process = psutil.Popen(command, stdout=writer, cwd=ROOT, preexec_fn=heed_signals)
    end = time.monotonic() + 30
    while not (left(storage) and does_nothing(process)):
        assert time.monotonic() < end
    process.send_signal(number)
    os.read(reader, 2**20)  # so that nothing waits for ever where the signal is lost
    assert (process.wait(30), left(storage)) == (128 + number, [])


def does_nothing(process):
    before = process.cpu_times()
    time.sleep(0.3)
    return process.cpu_times() == before


@pytest.fixture
def full_pipe():
    """Return the ends of a pipe to which nobody can write any more."""
    reader, writer = os.pipe()
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def versioned(own_services, storage):
    """Return a storage on a bucket that keeps versions."""
    client, bucket = storage.client, {"Bucket": f"{storage.bucket_name}-versions"}
    place = {"LocationConstraint": client.meta.region_name}
    client.create_bucket(**bucket, CreateBucketConfiguration=place)
    client.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})
    yield ObjectStorage(bucket_name=bucket["Bucket"])
    client.delete_bucket(**bucket)


def test_versions_are_read_by_id_and_deleted_too(storage, versioned):
    off, on = ({result.promise.name: result for result in probe(s)} for s in (storage, versioned))
    assert (off["versions"].kept, off["versions"].detail) == (None, "not switched on")
    assert on["versions"].kept
    others = off.keys() - {"versions", *QUICK} | {"permissions", "clock", "privacy"}
    assert {name: on[name].kept for name in others} == {name: off[name].kept for name in others}
    found = storage.client.list_object_versions(Bucket=versioned.bucket_name)
    assert (found.get("Versions", []), found.get("DeleteMarkers", [])) == ([], [])


@pytest.mark.parametrize(("seconds", "kept"), [(0, True), (59, True), (61, False), (-61, False)])
def test_a_clock_is_told_from_a_minute_on(storage, monkeypatch, seconds, kept):
    def enter(self, own=ground.Ground.__enter__):
        own(self)
        self.ahead += timedelta(seconds=seconds - self.ahead.total_seconds())
        return self

    monkeypatch.setattr(ground.Ground, "__enter__", enter)
    (result,) = probe(storage, ["clock"])
    assert (result.kept, result.is_broken) == (kept, False)


@pytest.fixture
def limited(own_services, storage, run):
    """Return what runs probe_bucket as a user who may do only these actions, where S3 judges it.

    Such a user may not delete objects whose keys end in `kept`.
    """
    iam = aws.session().create_client("iam")
    user = {"UserName": f"{storage.bucket_name}-limited"}  # beside that of the run
    iam.create_user(**user)
    key = iam.create_access_key(**user)["AccessKey"]

    def limited(*actions, kept="nothing"):
        statement = [
            {"Effect": "Allow", "Action": actions, "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::*/{kept}"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.put_user_policy(PolicyName="some", PolicyDocument=policy, **user)
        with acting_as(key):
            return run("--json")

    is_judged = limited("s3:GetBucketCORS")[0] == 2
    if is_judged:
        yield limited
    iam.delete_user_policy(PolicyName="some", **user)
    iam.delete_access_key(AccessKeyId=key["AccessKeyId"], **user)
    iam.delete_user(**user)
    if not is_judged:
        pytest.skip("the services of the run judge no policies")


@contextmanager
def acting_as(key):
    """Let this process ask AWS with this key, as one that was started with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        for module, name in (
            *((aws, "session"), (client, "_client"), (bucket, "_bucket")),
            (secretsmanager, "_client"),
        ):
            patch.setattr(module, name, cache(getattr(module, name).__wrapped__))
        yield


ACTIONS = [*ON_OBJECTS, *ON_BUCKET]


@pytest.mark.parametrize("missing", [[], *([action] for action in ACTIONS)])
def test_permissions_that_are_missing_are_named(limited, storage, caplog, missing):
    caplog.clear()
    status, output, _ = limited(*(action for action in ACTIONS if action not in missing))
    assert caplog.messages == []  # nothing that stays is told
    permissions = json.loads(output)["promises"]["permissions"]
    text = f"allow {', '.join(missing)} to the role of this process"
    kept = (True, "the role has those that README names")
    assert (permissions["kept"], permissions["detail"]) == ((False, text) if missing else kept)
    assert (status, left(storage)) == (int(bool(missing)), [])


def test_what_the_role_may_not_ask_for_is_not_told(limited):
    found = json.loads(limited(*ACTIONS)[1])["promises"]
    text = "not asked: S3 refuses {} (AccessDenied): allow s3:{} to the role of this process"
    actions = {
        "public access": ("GetPublicAccessBlock", "GetBucketPublicAccessBlock"),
        "versioning": ("GetBucketVersioning", "GetBucketVersioning"),
        "lifecycle": ("GetBucketLifecycleConfiguration", "GetLifecycleConfiguration"),
    }
    told = {name: (found[name]["kept"], found[name]["detail"]) for name in actions}
    assert told == {name: (None, text.format(*asked)) for name, asked in actions.items()}


def test_an_object_that_may_not_be_deleted_is_told_and_no_other_stays(limited, storage, caplog):
    limited(*ACTIONS, kept="put")
    (stays,) = left(storage)
    assert stays.endswith("/put")
    assert caplog.messages[-1].endswith(f"the role of this process: {stays!r}")


def test_a_role_that_may_do_nothing_is_2(limited):
    status, output, error = limited("s3:GetBucketCORS")
    assert (status, output) == (2, "")
    assert "S3 refuses DeleteObject (AccessDenied)" in error


def test_readme_names_the_permissions_that_are_asked_for():
    (policy,) = re.findall(r"(?s)### Least privilege.*?\n```json\n(.*?)```", README)
    assert sorted(re.findall(r'"(s3:\w+)"', policy)) == sorted(ACTIONS)


def judged(probe, without=""):
    promise = Promise("name", "text", without, probe)
    result = promise.ask(None)
    assert isinstance(result, Result)
    return result.kept, result.told, result.is_broken


def fail(error):
    raise error
    yield


def test_a_probe_tells_by_faults_and_errors():
    refused = PermissionError(13, "refused", "key")
    assert judged(lambda ground: iter([])) == (True, "text", False)
    assert judged(lambda ground: iter(["a", "b"])) == (False, "a; b", True)
    assert judged(lambda ground: iter(["a"]), "c") == (False, "a (c)", False)
    assert judged(lambda ground: fail(refused)) == (None, "not asked: refused", False)
    assert judged(lambda ground: fail(NotAskedError("off"))) == (None, "off", False)
    assert judged(lambda ground: fail(S3Error(5, "no XML", "key"))) == (False, "no XML", True)
    with pytest.raises(S3UnavailableError):
        judged(lambda ground: fail(S3UnavailableError(11, "later", "key")))


def test_a_server_that_ignores_headers_of_reads_is_told(storage, monkeypatch):
    send = Bucket._send
    ignore = lambda bucket, method, key, headers: send(bucket, method, key, {})  # noqa: E731
    monkeypatch.setattr(Bucket, "_send", ignore)
    ranges, conditions = probe(storage, ["ranges", "conditions of reads"])
    wrong = "bytes=0-0, bytes=3-, bytes=-2, bytes=5-99, bytes=10- answered wrongly"
    assert (ranges.kept, ranges.detail) == (False, wrong)
    assert conditions.detail.split("; ") == [
        "If-None-Match gets 200 in place of 304",
        "If-Match gets 200 in place of 412",
        "If-Modified-Since gets 200 in place of 304",
        "If-Unmodified-Since gets 200 in place of 412",
    ]


def test_a_server_that_ignores_headers_of_writes_is_told(storage):
    ignored = ("If-None-Match", "If-Match", "x-amz-tagging")

    def ignore(params, **about):
        for name in ignored:
            params["headers"].pop(name, None)

    events = storage.client.meta.events
    events.register("before-call.s3.PutObject", ignore)
    try:
        puts, copies = probe(storage, ["conditional puts", "whole copies"])
    finally:
        events.unregister("before-call.s3.PutObject", ignore)
    assert puts.detail.split("; ") == [
        "8 of 8 writers at once succeed under If-None-Match",
        "If-None-Match is ignored, so that a write overwrites",
        "If-Match is ignored, so that a replacement overwrites what somebody else wrote",
    ]
    assert (puts.is_broken, copies.is_broken) == (True, False)
    assert copies.detail == "tags are lost"
