"""The production server under load, while its services break and its password rotates.

Twenty clients list, look, read and upload. S3 and PostgreSQL hang, are late, refuse, break off and
answer 503 for moments, and two rotations come in the middle. Each byte is compared.
"""

import json
import random
import secrets
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import boto3
import psutil
import psycopg
import urllib3

from benchmarks.measure import MIB, table
from benchmarks.site import THREADS, WORKERS, Services, prepared, start

if TYPE_CHECKING:
    from tests.tcp_proxy import TCPProxy

CLIENTS = 20
SECONDS = 600
BREAK, REST = 4, 8  # seconds for which a service is broken, and until the next one is
SETTLE = 4  # seconds after it in which failures still count as its own
WARM_UP = 0.2  # of the run, before memory is looked at
LOST = 0.001  # of the requests, while nothing is broken but the machine may stand still
GROWTH = 1.3  # of memory and descriptors, at most

FAULTS = [
    ("s3", "hang"),
    ("postgres", "reset"),
    ("s3", "slow"),
    ("postgres", "hang"),
    ("s3", "refuse"),
    ("postgres", "refuse"),
    ("s3", "reset"),
    ("s3", "503"),
]
# How often a client does each thing.
WEIGHTS = {"list": 6, "detail": 4, "1 KiB": 6, "range": 3, "upload": 2, "10 MiB": 1}

LARGE = random.Random(0).randbytes(10 * MIB)


class Answer(NamedTuple):
    """What became of a request: its kind, its end by the clock, its seconds, and its outcome."""

    kind: str
    end: float
    seconds: float
    outcome: str  # "ok", a status, "wrong bytes", or an error's name


class Soak:
    """The load, the faults and the rotations of a run."""

    def __init__(self, port: int, services: Services) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.small, self.large = services.small, services.large
        self.answers: list[Answer] = []
        self.faults: list[tuple[float, float]] = []  # from and to, by the clock
        self._cookie = services.cookie
        self._ended = threading.Event()
        self._kept: list[tuple[int, bytes]] = []  # what was uploaded, with the row's id

    def load(self, seconds: float, breaks: Callable[[], None]) -> None:
        """Let the clients go on for so long, and `breaks` with them."""
        threads = [threading.Thread(target=self._work, args=[n]) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        ending = threading.Timer(seconds, self._ended.set)
        ending.start()
        try:
            breaks()
        finally:
            ending.cancel()
            self._ended.set()
            for thread in threads:
                thread.join()

    def wait(self, seconds: float) -> bool:
        """Return whether the run goes on after so many seconds."""
        return not self._ended.wait(seconds)

    def _work(self, number: int) -> None:
        chance = random.Random(number)
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=40))
        while not self._ended.is_set():
            (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            began = time.monotonic()
            try:
                outcome = self._do(kind, pool, chance, number)
            except urllib3.exceptions.HTTPError as error:
                outcome = type(error).__name__
            now = time.monotonic()
            self.answers.append(Answer(kind, now, now - began, outcome))
            time.sleep(chance.uniform(0, 0.2))

    def _do(self, kind: str, pool: Any, chance: random.Random, number: int) -> str:
        if kind == "list":
            return self._get(pool, "/admin/files/file/")
        if kind == "detail":
            return self._get(pool, f"/admin/files/file/{self.small}/change/")
        if kind == "upload":
            return self._upload(pool, f"{number}/{secrets.token_hex(8)}")
        if kind == "10 MiB":
            return self._get(pool, f"/files/{self.large}/", LARGE)
        if kind == "range":
            first = chance.randrange(len(LARGE) - 1000)
            wanted = LARGE[first : first + 1000]
            headers = {"Range": f"bytes={first}-{first + 999}"}
            return self._get(pool, f"/files/{self.large}/", wanted, 206, headers)
        kept = self._kept or [(self.small, b"text" * 256)]
        file, content = chance.choice(kept)
        return self._get(pool, f"/files/{file}/", content)

    def _get(
        self,
        pool: Any,
        path: str,
        content: bytes | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> str:
        headers = {"Cookie": self._cookie} | (headers or {})
        answer = pool.request("GET", self.url + path, headers=headers, redirect=False)
        if answer.status != status:
            return str(answer.status)
        return "ok" if content in {None, answer.data} else "wrong bytes"

    def _upload(self, pool: Any, key: str) -> str:
        token = "t" * 32
        content = secrets.token_bytes(1024)
        headers = {
            "Cookie": f"{self._cookie}; __Host-csrftoken={token}",
            "X-CSRFToken": token,
        }
        url = f"{self.url}/api/files/?{urlencode({'key': key})}"
        answer = pool.request("POST", url, body=content, headers=headers, redirect=False)
        if answer.status != 201:
            return str(answer.status)
        self._kept.append((answer.json()["id"], content))
        return "ok"

    @contextmanager
    def fault(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.faults.append((began, time.monotonic() + SETTLE))

    def is_faulty(self, answer: Answer) -> bool:
        """Return whether anything was broken while the answer was waited for."""
        return any(
            begin <= answer.end and answer.end - answer.seconds <= end for begin, end in self.faults
        )


class Rotation:
    """The password of the database, as its owner and AWS rotate it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._client = boto3.client(
            "secretsmanager",
            endpoint_url=environ["AWS_ENDPOINT_URL"],
            region_name=environ["AWS_REGION"],
            aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        )
        self._id, self._user = environ["APP_DB_SECRET"], environ["APP_DB_USER"]
        secret = self._client.get_secret_value(SecretId=self._id)["SecretString"]
        self._connection = psycopg.connect(
            host=environ["APP_DB_HOST"],
            port=environ["APP_DB_PORT"],
            dbname=environ["APP_DB_NAME"],
            user=self._user,
            password=json.loads(secret)["password"],
            application_name="soak",
            autocommit=True,
        )

    def rotate(self) -> None:
        """Set another password in the database first, as AWS does, and end all sessions."""
        password = secrets.token_urlsafe(12)
        secret = json.dumps({"password": password})
        put = {"SecretId": self._id, "SecretString": secret}
        self._client.put_secret_value(**put, VersionStages=["AWSPENDING"])
        self._connection.execute(f"ALTER ROLE \"{self._user}\" PASSWORD '{password}'")
        self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'files-soak'"
        )
        self._client.put_secret_value(**put, VersionStages=["AWSCURRENT"])

    def sessions(self) -> int:
        """Return how many connections the server has."""
        found = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'files-soak'"
        ).fetchone()
        assert found is not None
        return int(found[0])

    def close(self) -> None:
        self._connection.close()


class State(NamedTuple):
    """What the processes of the server hold."""

    memory: float  # MiB
    descriptors: int
    sessions: int


def run(rounds: int, seconds: int = SECONDS) -> None:
    """Report the run. Raises SystemExit for wrong bytes, what failed without a fault, or growth."""
    with prepared(len(LARGE)) as services, ExitStack() as stack:
        rotation = Rotation(services.own)
        stack.callback(rotation.close)
        environ = services.environ | {"PGAPPNAME": "files-soak"}
        port = start(stack, ["project.server"], environ)
        soak = Soak(port, services)
        states: list[State] = []

        def look() -> None:
            states.append(_state(port, rotation))

        threading.Timer(seconds * WARM_UP, look).start()
        soak.load(seconds, lambda: _break(soak, services, rotation, seconds))
        time.sleep(SETTLE)
        look()
        _report(soak, states[0], states[-1])


def _break(
    soak: Soak,
    services: Services,
    rotation: Rotation,
    seconds: float,
) -> None:
    began = time.monotonic()
    rotations = [began + seconds * part for part in (0.4, 0.6)]
    soak.wait(REST)
    for number in range(sys.maxsize):
        if rotations and time.monotonic() > rotations[0]:
            rotations.pop(0)
            with soak.fault():
                rotation.rotate()
        elif seconds - (time.monotonic() - began) > BREAK + REST:
            name, mode = FAULTS[number % len(FAULTS)]
            with soak.fault():
                proxy: TCPProxy = getattr(services, name)
                proxy.mode = mode
                soak.wait(BREAK)
                proxy.mode = "pass"
        if not soak.wait(REST):
            return


def _state(port: int, rotation: Rotation) -> State:
    """Return what the processes hold that listen at the port."""
    found = [
        each
        for each in psutil.Process().children(recursive=True)
        if any(at.laddr and at.laddr[1] == port for at in each.net_connections("tcp"))
    ]
    memory = sum(each.memory_info().rss for each in found) / MIB
    return State(memory, sum(each.num_fds() for each in found), rotation.sessions())


def _report(soak: Soak, before: State, after: State) -> None:
    rows = []
    failures: dict[bool, Counter[str]] = defaultdict(Counter)
    for kind in WEIGHTS:
        for faulty in (False, True):
            found = [a for a in soak.answers if a.kind == kind and soak.is_faulty(a) == faulty]
            good = [a.seconds for a in found if a.outcome == "ok"]
            bad = Counter(a.outcome for a in found if a.outcome != "ok")
            failures[faulty] += bad
            errors = ", ".join(f"{count} x {name}" for name, count in sorted(bad.items()))
            cells = [str(len(found)), errors or "0", _percentile(good, 50), _percentile(good, 99)]
            rows.append([f"{kind}, {'while something is broken' if faulty else 'else'}", *cells])
    table(["", "requests", "errors", "p50", "p99"], rows)
    for name, first, last in zip(State._fields, before, after, strict=True):
        print(f"{name}: {first:.0f} after a fifth of the run, {last:.0f} at the end")
    undisturbed = sum(not soak.is_faulty(answer) for answer in soak.answers)
    wrong = failures[True]["wrong bytes"] + failures[False]["wrong bytes"]
    problems = {
        "wrong bytes": wrong > 0,
        f"failures while nothing is broken: {dict(failures[False])}": failures[False].total()
        > LOST * undisturbed,
        "memory grows": after.memory > before.memory * GROWTH,
        "descriptors are left": after.descriptors > before.descriptors * GROWTH,
        "connections are left": after.sessions > WORKERS * THREADS,
    }
    if any(problems.values()):
        raise SystemExit("; ".join(text for text, is_so in problems.items() if is_so))


def _percentile(seconds: list[float], percent: int) -> str:
    if len(seconds) < 2:
        return ""
    return f"{statistics.quantiles(seconds, n=100)[percent - 1] * 1000:.0f} ms"
