"""Any operations in any order, killed, failed by S3 and two at once, against a dictionary."""

import functools
import hashlib
import itertools
import logging
import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import pytest
from botocore.retries.quota import RetryQuota
from django.core.files.base import ContentFile
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from files import operations
from files.catalogue.check import check
from files.catalogue.importing import import_objects
from files.catalogue.sync import sync
from files.catalogue.walk import Part
from files.models import File, Operation
from files.operations import ConflictError
from files.storage import ObjectChangedError, be_in_background, copying, writing
from files.storage.circuit import circuit_of
from files.storage.stat import read_stat
from tests import location
from tests.faults import Fault, Kill, KilledError, Steps
from tests.operations import RollBackError, create, execute, locks
from tests.test_storage import listed, open_uploads

# For people: that many examples, and others in each run. By itself they are few and the same.
EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "0"))
PART = 5 * 2**20  # bytes, the least that S3 takes
KEYS = "abc"

# Where the model holds a content: KEPT in the trash by a replacement, FOREIGN without a row.
LIVE, TRASHED, KEPT, FOREIGN = "live", "trashed", "kept", "foreign"


class Action(NamedTuple):
    """What an actor does, to a new file or to one of those that there are."""

    kind: str
    row: int
    key: str
    is_large: bool


class Bound(NamedTuple):
    """An action on the row that has been read for it, with the number of a new content."""

    kind: str
    key: str = ""
    target: str = ""
    new: int = 0
    file: File | None = None
    pk: int = 0
    seen: int = 0  # the content that a deletion is of, where no operation on it is pending
    kept: int = 0  # the content of the row, where that is KEPT
    is_free: bool = True  # nothing is at the key to which it goes back
    is_settled: bool = True  # no operation on the row has been interrupted
    named: frozenset[str] = frozenset()  # the keys that operations name, of which no row is made


class Ended(NamedTuple):
    """An action, how it ended, and whether S3 or a kill broke it."""

    bound: Bound
    result: str
    is_broken: bool


keys = st.sampled_from(KEYS)
sizes = st.sampled_from([False] * 11 + [True])
kinds = ["create", "replace", "rename", "trash", "restore", "delete"]
actions = st.builds(Action, st.sampled_from(kinds), st.integers(0, 5), keys, sizes)
revocable = st.builds(
    Action, st.sampled_from(["create", "trash", "delete"]), st.integers(0, 5), keys, sizes
)
CATALOGUING = ("import", "sync")  # which make rows of objects
cataloguing = st.sampled_from([Action(kind, 0, "", False) for kind in CATALOGUING])
sweeps = st.just(Action("sweep", 0, "", False)) | cataloguing
steps = st.integers(1, 12) | st.integers(1, 24)
others = st.tuples(steps, actions | actions | actions | sweeps)
faults = st.builds(
    Fault,
    st.integers(1, 5),
    st.sampled_from(["403", "503", "reset", "lost", "late"]),
    st.booleans(),
)
kills = st.builds(Kill, steps)
breaks = st.none() | kills | kills | faults


class Machine(RuleBasedStateMachine):
    """Holds the models that are possible: several only until what was interrupted has ended.

    A model is a dictionary of each content, by its number, with its name and where it is.
    """

    def __init__(self, storage):
        super().__init__()
        self.storage = storage
        self.sizes, self.numbers = {}, {}  # of contents by number, of numbers by MD5
        self.foreign, self.referred, self.uploads = set(), set(), set()
        self.late = []
        execute("TRUNCATE referring, files, files_operation RESTART IDENTITY")
        self._empty_bucket()
        bounds = [Bound("create", key, new=self._content(False)) for key in KEYS[:2]]
        for bound in bounds:
            self._do(bound)
        self.models = [{bound.new: (bound.key, LIVE) for bound in bounds}]

    def _empty_bucket(self):
        for entry in listed(self.storage):
            self.storage.delete(entry["Key"])
        for upload in open_uploads(self.storage):
            self.storage.abort_upload(upload["Key"], upload["UploadId"])

    # The rules

    @rule(action=actions, breaks=breaks)
    def operate(self, action, breaks):
        self._run([self._bind(action)], breaks)

    @rule(action=actions, other=others, is_same=st.booleans(), breaks=st.none() | breaks)
    def operate_two_at_once(self, action, other, is_same, breaks):
        step, second = other
        if is_same:  # a sweep is about all files
            second = second._replace(row=action.row, key=second.key and action.key)
        if action.kind == "trash":  # which is one statement: nothing can come in between
            action, second = second, action
        self._run([self._bind(action)], breaks, (step, second))

    @rule(
        action=actions, step=steps, at=st.sampled_from(["key", "target"]), breaks=st.none() | breaks
    )
    def operate_while_somebody_puts(self, action, step, at, breaks):
        """Let an object be written, as somebody does who shares the bucket, where it can harm."""
        bound = self._bind(action)
        key = bound.target if at == "target" or bound.kept else bound.key
        self._run([bound], breaks, (step, Action("put", 0, key or action.key, False)))

    @rule(
        chosen=st.lists(revocable, min_size=1, max_size=2),
        end=st.sampled_from(["commit", "commit", "roll back"]),
        breaks=breaks,
        other=st.none() | others,
    )
    def operate_in_a_transaction(self, chosen, end, breaks, other):
        self._run([self._bind(action) for action in chosen], breaks, other, end)

    @rule(
        cataloguing=cataloguing,
        action=actions,
        step=st.integers(1, 8),
        breaks=st.none() | st.none() | breaks,
    )
    def catalogue_while_others_work(self, cataloguing, action, step, breaks):
        self._run([self._bind(cataloguing)], breaks, (step, action))

    def purge(self, breaks, other):
        """Sweep, and then delete all that is in the trash at a time."""
        trashed = File.objects.trashed().order_by("pk")
        deletions = [self._bind_row("delete", file) for file in trashed]
        self._run([Bound("sweep"), *deletions], breaks, other, is_purge=True)

    @rule(
        what=st.sampled_from(
            ["purge", "sweep", "let a minute pass", "refer", "free", "put", "delete and put"]
        ),
        key=keys,
        breaks=breaks,
        other=st.none() | others,
    )
    def do_in_between(self, what, key, breaks, other):
        {
            "purge": lambda: self.purge(breaks, other),
            "sweep": self.sweep,
            "let a minute pass": self.let_a_minute_pass,
            "refer": lambda: self.refer_to(key),
            "free": self.refer_to_no_row,
            "put": lambda: self.put_or_delete(key),
            "delete and put": lambda: self.delete_and_put(key),
        }[what]()

    def sweep(self):
        """End what was interrupted, when S3 cannot be working on it any more."""
        self._arrive()
        for operation in Operation.objects.all():
            operations.end(operation)
        seen = self._settle(self.models)
        keys = {str(file) for file in File.objects.all()}
        others = {name for name, where in seen.values() if where == FOREIGN}
        assert self._objects() == keys | others
        assert not Operation.objects.exists()
        assert not {upload["UploadId"] for upload in open_uploads(self.storage)} & self.uploads

    def let_a_minute_pass(self):
        """Let the next attempts see that S3 cannot be working on what was interrupted any more."""
        self._arrive()
        execute("UPDATE files_operation SET started_at = started_at - interval '2 minutes'")
        self._settle(self.models)

    def refer_to(self, key):
        """Let a row of another table need the file, which then cannot be deleted."""
        for file in File.objects.filter(object_key=key):
            execute(f"INSERT INTO referring VALUES ({file.pk})")  # noqa: S608
            self.referred.add(file.pk)

    def refer_to_no_row(self):
        execute("TRUNCATE referring")
        self.referred.clear()

    def put_or_delete(self, key):
        """Write an object without a row, as somebody else does, or delete that one."""
        if File.objects.filter(object_key=key).exists():
            return
        if any((key, FOREIGN) in model.values() for model in self.models):
            self.sweep()
            self.storage.delete(key)
            self._settle([without(model, (key, FOREIGN)) for model in self.models])
        else:
            bound = self._bind(Action("put", 0, key, False))
            self._do(bound)
            self._settle([after for model in self.models for after in self._after(model, bound)])

    def delete_and_put(self, key):
        """Delete the object of a file, and write it again, as somebody else does; S3 tells that."""
        self.sweep()
        for file in File.objects.live().filter(object_key=key):
            data = file.open().read()
            self.storage.delete(key)
            self._follow([key] * 2)
            assert File.objects.exclude(missing_at=None).get() == file
            assert ("-", key) in self._differences()
            self._put(key, data)
            self._follow([key] * 2)
        self._settle(self.models)

    def teardown(self):
        if self.models:  # nothing has failed
            self.sweep()

    # What is done

    def _bind(self, action):
        """Read the row that it is about, and make up the content."""
        if action.kind in CATALOGUING:
            return Bound(action.kind, named=frozenset(named()))
        if action.kind in {"sweep", "put"}:
            new = self._content(False) if action.kind == "put" else 0
            self.foreign |= {new}
            return Bound(action.kind, action.key, new=new)
        rows = list(File.objects.order_by("pk"))
        if action.kind == "create" or not rows:
            return Bound("create", action.key, new=self._content(action.is_large))
        file = rows[action.row % len(rows)]
        is_kept = file.original_key and action.kind in {"replace", "rename"}
        new = self._content(action.is_large) if action.kind == "replace" and not is_kept else 0
        kind = "restore" if is_kept else action.kind
        return self._bind_row(kind, file)._replace(target=action.key, new=new)

    def _bind_row(self, kind, file):
        pending = named()
        is_settled, is_kept = str(file) not in pending, bool(file.original_key)
        is_free = file.name not in pending | self._objects()
        is_read = is_kept or (is_settled and kind == "delete")
        seen = self._number(self.storage.open(str(file)).read()) if is_read else 0
        kept = seen if is_kept else 0
        return Bound(kind, str(file), "", 0, file, file.pk, seen, kept, is_free, is_settled)

    def _content(self, is_large):
        number = len(self.sizes) + 1
        self.sizes[number] = PART if is_large else 0
        self.numbers[digest(content(number, self.sizes[number]))] = number
        return number

    def _number(self, data):
        return self.numbers[digest(data)]

    def _do(self, bound):
        file, data = bound.file, content(bound.new, self.sizes.get(bound.new, 0))
        {
            "create": lambda: create(bound.key, data),
            "replace": lambda: file.replace(ContentFile(data)),
            "rename": lambda: file.rename(bound.target),
            "trash": lambda: file.trash(),
            "restore": lambda: file.restore(),
            "delete": lambda: file.delete(),
            "sweep": self._end_interrupted,
            "import": lambda: list(import_objects(Part())),
            "sync": lambda: self._follow(KEYS),
            "put": lambda: self._put(bound.key, data),
        }[bound.kind]()

    def _put(self, key, data):
        facts = {"Key": key, "Body": data, "ContentType": self.storage.guess_type(key)}
        location.client().put_object(Bucket=self.storage.bucket_name, **facts)

    def _follow(self, keys):
        """Do as `sync_files` does with events of these keys."""
        with ThreadPoolExecutor(1, initializer=be_in_background) as threads:
            sync(keys, threads)

    def _end_interrupted(self):
        """Do as `purge_files` does, a minute later."""
        self._arrive()
        now = timezone.now()
        for operation in [*operations.interrupted("", now), *operations.open_uploads("", now)]:
            with suppress(ConflictError):
                operations.end(operation)

    def _arrive(self):
        for broken in self.late:
            broken.arrive()

    def _purge(self, bounds, taken):
        """Delete the files of the bounds at a time; return how each has ended."""
        results = []

        def purge():
            files = [bound.file for bound in bounds]
            results.extend(error for _file, error in operations.purge(files, workers=1))

        def fail(error):
            if error is not None:
                raise error

        end = ending(purge, taken)
        results += [None] * (len(bounds) - len(results))
        return [
            end if end != "done" else ending(functools.partial(fail, error), taken)
            for error in results
        ]

    def _run(self, bounds, breaks, other=None, end="", *, is_purge=False):
        """Do one after the other, or all in a transaction with that end; settle what may be.

        The other one is done at a step of them.
        """
        results, second = [], []
        before, self.models = self.models, []
        second_bound = self._bind(other[1]) if other else Bound("")

        def meanwhile():
            wait = "50ms" if second_bound.kind in CATALOGUING else "5s"  # which may wait for ours
            execute(f"SET lock_timeout = '{wait}'")
            second.append(ending(lambda: self._do(second_bound)))

        def each():
            alone = bounds[:1] if is_purge else bounds
            acts = (functools.partial(self._do, bound) for bound in alone)
            results.extend(ending(act, taken, raises=end) for act in acts)
            if is_purge:
                results.extend(self._purge(bounds[1:], taken))

        def together():
            with transaction.atomic():
                each()
                if end == "roll back":
                    raise RollBackError

        taken = Steps(breaks, (other[0], meanwhile) if other else None)
        with taken:
            result = ending(together if end else each, taken)
        self.late.append(taken)
        wait_for_locks()
        ways = self._committed(bounds, results, result, end) if end else [results]
        firsts = [
            [Ended(bound, *about, taken.fired) for bound, *about in zip(bounds, way, strict=False)]
            for way in ways
        ]
        seconds = [Ended(second_bound, *about, False) for about in zip(second, strict=True)]
        possible = functools.partial(self._outcomes, is_alone=not second and not end)
        models = [
            outcome
            for model in before
            for first in firsts
            for order in merged(first, seconds)
            for outcome in possible(model, order)
        ]
        assert models, f"{results} {result} {second} cannot be after {before}"
        if seconds and second_bound.kind == "put":
            self._tell_of_put(second_bound.key)
        if taken.fired:
            self._delete_again(bounds)
        self._settle(models)

    def _committed(self, bounds, results, result, end):
        """Return the ways in which a transaction may have ended: with all results, or with none."""
        if result == "done":
            return [results]
        if result == "killed" and end == "commit" and results == ["done"] * len(bounds):
            return [[], results]
        if result == "refers":
            assert {bound.pk for bound in bounds} & self.referred
        return [[]]

    def _tell_of_put(self, key):
        """Let the row know what somebody else has put there; of the trash no event tells that."""
        if File.objects.filter(object_key=key).exists():
            self._end_interrupted()
            self._follow([key] * 2)
        for file in File.objects.trashed().filter(object_key=key):
            file.refresh_from_storage()

    def _delete_again(self, bounds):
        """Delete what came back into the trash though S3 had deleted it: the answer was lost."""
        deleted = [bound.pk for bound in bounds if bound.kind == "delete"]
        for file in File.objects.trashed().filter(pk__in=deleted):
            if not self.storage.exists(str(file)):
                file.delete()

    # What may be

    def _outcomes(self, model, order, *, is_alone):
        models = [model]
        for ended in order:
            models = [after for old in models for after in self._outcome(old, *ended, is_alone)]
        return models

    def _outcome(self, model, bound, result, is_broken, is_alone):
        if bound.kind in CATALOGUING and (is_broken or not is_alone):
            return self._imported(model)
        after = self._after(model, bound)
        done = after if isinstance(after, list) else []
        half = self._half(model, bound)
        if result == "done":  # on commit, a deletion is done as far as S3 lets
            may_return = bound.kind == "delete" and (is_broken or not is_alone)
            return done + (half if may_return else [])
        if result == after:
            return [model]
        if is_broken:
            return [model, *done, *half]
        if result == "conflict" and bound.kind == "delete" and not bound.is_settled:
            return [model]  # an interrupted replacement has been recorded
        if not is_alone and (result in {"conflict", "changed"} or bound.kind == "restore"):
            return [model, *(half if result == "changed" else [])]
        return []

    def _after(self, model, bound):
        """Return the models after it, or how it is refused."""
        if bound.kind == "sweep":
            return [model]
        if bound.kind == "put":
            return [put(model, bound)]
        if bound.kind in CATALOGUING:
            imported = {number: (name, LIVE) for number, name in foreign(model, bound.named)}
            return [model | imported]
        if bound.kind == "create":
            new = {bound.new: (bound.key, LIVE)}
            return "exists" if taken(model, bound.key) else [model | new]
        number = held(model, bound)
        if not number:
            return "conflict"
        name, where = model[number]
        if bound.kind == "replace":
            return [model | {number: (name, KEPT), bound.new: (name, LIVE)}]
        if bound.kind == "trash":
            return [model | {number: (name, TRASHED if where == LIVE else where)}]
        if bound.kind == "delete":
            if bound.seen not in {0, number}:
                return "changed"
            is_referred = bound.pk in self.referred
            return "refers" if is_referred else [without(model, (name, where), number)]
        if bound.kind == "rename":
            is_taken = bound.target != name and taken(model, bound.target)
            return "exists" if is_taken else [model | {number: (bound.target, where)}]
        return [model | {number: (self._restored(model, bound) if where == KEPT else name, LIVE)}]

    def _imported(self, model):
        """Return the models after an import, or events, that did not do all of it."""
        found = foreign(model, frozenset())
        return [
            model | {number: (name, LIVE) for number, name in chosen}
            for size in range(len(found) + 1)
            for chosen in itertools.combinations(found, size)
        ]

    def _restored(self, model, bound):
        """Return the name that a kept content has got: its own, or where that is taken another."""
        name = bound.file.name
        (now,) = File.objects.filter(pk=bound.pk).values_list("object_key", flat=True) or [""]
        is_own = not taken(model, name) and bound.is_free
        return now if not is_own and re.fullmatch(rf"{name}_\w{{7}}", now) else name

    def _half(self, model, bound):
        """Return what else a broken operation may leave: nothing is lost by it."""
        number = held(model, bound) if bound.file else 0
        if not number:
            return []
        name, where = model[number]
        if bound.kind == "delete":
            return [model | {number: (name, where if where == KEPT else TRASHED)}]
        if bound.kind == "replace" and where == TRASHED:
            return [model | {number: (name, KEPT), bound.new: (name, TRASHED)}]
        return []

    # What is there

    def _settle(self, models):
        """Keep the models that agree with what is there; return that."""
        self.models = []
        assert locks() == 0
        seen, unsettled = self._look()
        differing = {name for name, where in seen.values() if where == FOREIGN}
        assert self._differences() == {("+", name) for name in differing - named()}
        shown = visible(seen, unsettled)
        possible = [model for model in models if visible(model, unsettled) == shown]
        assert possible, f"{seen} is none of {models}, unsettled {unsettled}"
        self.models = [model for at, model in enumerate(possible) if model not in possible[:at]]
        return seen

    def _look(self):
        """Return what rows and objects say, and the names whose operations have not ended.

        Until a replacement has ended, its row may be that of either content.
        """
        pending = list(Operation.objects.all())
        self.uploads |= {operation.upload_id for operation in pending if operation.upload_id}
        named = {key for operation in pending for key in operation.keys}
        unsettled = {each.object_key for each in pending if each.kind == Operation.Kind.REPLACE}
        rows, seen = {str(file): file for file in File.objects.all()}, {}
        for file in rows.values():
            if str(file) not in unsettled:
                assert self._read(file) not in seen, "a content is there twice"
                seen[self._read(file)] = file.name, where(file)
        for key in self._objects() - set(rows):
            number = self._number(self.storage.open(key).read())
            if key not in named:
                assert number in self.foreign, f"{key} is an object that nothing names"
                seen[number] = key, FOREIGN
            elif number in self.foreign:
                unsettled.add(key)
        return seen, unsettled

    def _differences(self):
        """Return what `check_files` tells."""
        checked = [finding for part in check(Part()) for finding in part.findings]
        return {(finding.sign, finding.key) for finding in checked}

    def _read(self, file):
        """Return the content of the object, of which the row tells the truth."""
        response = self.storage.request("GET", str(file))
        stat = read_stat(str(file), response.headers)
        assert (file.size, file.content_type, file.etag, file.modified_at) == stat[:4]
        return self._number(b"".join(self.storage.body(str(file), response)))

    def _objects(self):
        return {entry["Key"] for entry in listed(self.storage)}


@functools.lru_cache(maxsize=8)
def content(number, size):
    """Return bytes that no other number has."""
    return f"content {number} ".encode() + random.Random(number).randbytes(size)


def digest(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def where(file):
    if file.deleted_at is None:
        return LIVE
    return KEPT if file.original_key else TRASHED


def taken(model, key):
    return any(name == key and where != KEPT for name, where in model.values())


def held(model, bound):
    """Return the content of the row, and 0 where the row is not that any more."""
    if bound.kept:
        return bound.kept if model.get(bound.kept, ("", ""))[1] == KEPT else 0
    places = [(bound.key, LIVE), (bound.key, TRASHED)]
    return next((number for number, place in model.items() if place in places), 0)


def named():
    return {key for operation in Operation.objects.all() for key in operation.keys}


def foreign(model, named):
    """Return number and name of the contents without a row that no operation names."""
    places = model.items()
    return [(at, name) for at, (name, is_at) in places if is_at == FOREIGN and name not in named]


def put(model, bound):
    """Put the content of somebody else in the place of what is there."""
    places = [(bound.key, where) for where in (LIVE, TRASHED, FOREIGN)]
    place = next((place for place in model.values() if place in places), places[-1])
    return without(model, place) | {bound.new: place}


def without(model, place, only=0):
    return {
        number: other
        for number, other in model.items()
        if other != place or number != (only or number)
    }


def visible(model, unsettled):
    return {number: place for number, place in model.items() if place[0] not in unsettled}


def merged(first, second):
    """Yield all orders in which actions of two actors may have happened."""
    for places in itertools.combinations(range(len(first) + len(second)), len(second)):
        ours, theirs = iter(first), iter(second)
        yield [
            next(theirs if place in places else ours) for place in range(len(first) + len(second))
        ]


ENDINGS = {
    KilledError: "killed",
    RollBackError: "rolled back",
    ConflictError: "conflict",
    ObjectChangedError: "changed",
    FileExistsError: "exists",
    FileNotFoundError: "missing",
    IntegrityError: "refers",
    OperationalError: "waits",
    OSError: "failed",
}


def ending(act, taken=None, *, raises=False):
    """Do it; return how it ended."""
    result = "done"
    try:
        act()
    except BaseException as error:
        result = next((ENDINGS[kind] for kind in ENDINGS if isinstance(error, kind)), "")
        if raises or not (result or (taken and taken.is_dead)):
            raise
    return "killed" if taken and taken.is_dead else result


def wait_for_locks():
    """Return when PostgreSQL has seen that the session of a killed actor is over."""
    limit = time.monotonic() + 10
    while locks() and time.monotonic() < limit:
        time.sleep(0.002)


@pytest.fixture
def quick(monkeypatch, no_waits, storage):
    """Let no retry be saved, nothing be logged, and large be 5 MiB."""
    monkeypatch.setattr(circuit_of(storage.client), "_waiting", 0)  # the killed wait for ever
    monkeypatch.setattr(RetryQuota, "acquire", lambda quota, amount: True)
    monkeypatch.setattr(writing, "PART_SIZE", PART)
    monkeypatch.setattr(copying, "COPY_PART_SIZE", PART)
    monkeypatch.setattr(copying, "COPIES", 1)  # so that the steps have an order
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.needs("conditional puts")
def test_nothing_is_lost_whatever_is_done_and_broken(transactional_db, storage, referring, quick):
    referring("")
    run_state_machine_as_test(
        lambda: Machine(storage),
        settings=settings(
            max_examples=EXAMPLES or 25,
            stateful_step_count=15,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            print_blob=bool(EXAMPLES),
            suppress_health_check=list(HealthCheck),
        ),
    )
