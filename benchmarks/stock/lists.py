"""Fills the table and asks both admins for the same pages in turns: a process of bench_admin."""

import json
import math
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from files.api.queries import Cursor  # noqa: E402

LEAST, SECONDS = 3, 15  # runs of a page at least, and what more than those may take
PER_PAGE = 100

# A half are logs, a quarter is users' (with a folder for each, at the top of users/), a tenth lies
# in one folder, a tenth in projects with folders and files, and the rest is odd. They come in the
# order of nobody's keys.
FILL = """
INSERT INTO files (object_key, size, content_type, etag, modified_at, deleted_at, missing_at)
SELECT
    CASE
    WHEN g %% %(rare)s = 0 THEN 'Fundstücke/' || 1900 + g %% 40 || '/Zeppelin-' || g || '.jpg'
    WHEN kind < 10 THEN to_char(day, '"logs"/YYYY/MM/DD/"app"-') || h %% 8
        || to_char(day, '/YYYY-MM-DD"T"HH24-MI-SS-') || lpad(g::text, 9, '0') || '.json.gz'
    WHEN kind = 10 THEN person || 'avatar.png'
    WHEN kind = 11 THEN person || 'settings/profile-' || h || '.xml'
    WHEN kind = 12 THEN person || 'photos/' || to_char(day, 'YYYY/"IMG"_YYYYMMDD_') || h || '.jpg'
    WHEN kind = 13 THEN person || 'photos/holidays/DSC' || lpad((h %% 1000000)::text, 6, '0')
        || '.JPG'
    WHEN kind = 14 THEN person || 'documents/contract-' || h || '-signed.pdf'
    WHEN kind < 17 THEN to_char(day, '"exports/all/orders"-YYYYMMDD-') || lpad(g::text, 9, '0')
        || '-' || substr(md5(g::text), 1, 16) || '.csv'
    WHEN kind < 19 AND h %% 5 = 0 THEN project || 'Scan ' || lpad(g::text, 9, '0')
        || ' (final).tiff'
    WHEN kind < 19 THEN project || 'page-' || h %% 10 || '/scans/raw-' || lpad(g::text, 9, '0')
        || '.tiff'
    ELSE (ARRAY[
        '/root/', '//backup//', './tmp/a/../', 'Überweisungen/2024/Beleg ', 'emoji/😀/',
        'back\\slash/%%41 ', 'données/été/'
    ])[1 + h %% 7] || md5(g::text) || '/' || g || '.bin'
    END,
    floor(exp(h %% 1000003 / 1000003.0 * 21)) - 1,
    CASE
    WHEN kind < 10 THEN 'application/json'
    WHEN kind IN (10, 12, 13) THEN 'image/jpeg'
    WHEN kind = 14 THEN 'application/pdf'
    WHEN kind IN (11, 15, 16) THEN 'text/csv'
    WHEN kind < 19 THEN 'image/tiff'
    ELSE 'application/octet-stream'
    END,
    '"' || md5(g::text) || '"',
    day,
    CASE WHEN kind < 10 AND h %% 500 = 499 THEN now() END,
    CASE WHEN kind < 10 AND h %% 500 = 498 THEN now() END
FROM (
    SELECT
        g,
        kind,
        h,
        timestamptz '2022-01-01' + h %% (3 * 365 * 86400) * interval '1 second' AS day,
        'users/' || lpad((g / 20 * 7919 %% greatest(%(rows)s / 20, 1))::text, 7, '0') || '/'
            AS person,
        'media/projects/p-' || lpad((h %% greatest(%(rows)s / 10000, 1))::text, 4, '0') || '/'
            AS project
    FROM (
        SELECT g, g %% 20 AS kind, g * 2654435761 %% 4294967296 / 7 AS h
        FROM generate_series(1::bigint, %(rows)s) g
    ) numbered
) described
"""


class Page(NamedTuple):
    """A page of a list, ours and the stock one: of the admins, or of the APIs."""

    name: str
    ours: dict[str, Any]
    stock: dict[str, Any]
    same: bool = False  # that both show the same files
    lists: tuple[str, str] = ("/admin/files/file/", "/stock/sessions/stockfile/")


def api(name: str, ours: dict[str, Any], stock: dict[str, Any], *, same: bool = False) -> Page:
    """Return a page of the list of our API, and of one as the framework makes it."""
    return Page(f"API: {name}", ours, stock, same, ("/api/files/", "/stock-api/files/"))


def fill(rows: int) -> None:
    """Load that many files, without the indexes, and make those afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE files RESTART IDENTITY")
        cursor.execute("ALTER TABLE files SET (autovacuum_enabled = false)")
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'files' AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint WHERE conrelid = 'files'::regclass)"
        )
        indexes = [definition for (definition,) in cursor.fetchall()]
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'files'::regclass AND contype IN ('p', 'u')"
        )
        constraints = cursor.fetchall()
        for name, _ in constraints:
            cursor.execute(f"ALTER TABLE files DROP CONSTRAINT {name}")
        for definition in indexes:
            cursor.execute(f"DROP INDEX {definition.split()[2 + ('UNIQUE' in definition)]}")
        _timed("INSERT", lambda: cursor.execute(FILL, {"rows": rows, "rare": max(rows // 12, 1)}))
        for name, definition in constraints:
            _timed(
                name,
                lambda name=name, definition=definition: cursor.execute(
                    f"ALTER TABLE files ADD CONSTRAINT {name} {definition}"
                ),
            )
        for definition in indexes:
            _timed(definition.split()[2], lambda definition=definition: cursor.execute(definition))
        _timed("VACUUM ANALYZE", lambda: cursor.execute("VACUUM ANALYZE files"))
        cursor.execute("CHECKPOINT")


def _timed(what: str, action: Callable[[], object]) -> None:
    start = time.monotonic()
    action()
    print(f"  {what}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def pages(rows: int) -> list[Page]:
    last = math.ceil(rows / PER_PAGE)
    before = (last - 1) * PER_PAGE - 1  # the rows in front of the last one that leads there
    (key,) = _row("SELECT object_key FROM files ORDER BY object_key OFFSET %s", before)
    size, pk = _row("SELECT size, id FROM files ORDER BY size DESC, id DESC OFFSET %s", before)
    (number,) = _row(
        "SELECT substring(object_key, 'raw-(\\d+)') FROM files"
        " WHERE object_key LIKE 'media/projects/p-%%/raw-%%' OFFSET %s",
        0,
    )
    project = "media/projects/p-0000/"
    (people,) = _row(
        "SELECT left(object_key, 14) FROM files WHERE object_key LIKE 'users/%%'"
        " ORDER BY object_key OFFSET %s",
        rows // 5,
    )
    everything = {"below": "true"}
    last_by_size = Cursor(json.dumps(["file", size, pk])).encode()

    def below(folder: str) -> dict[str, Any]:
        return {"object_key__startswith": folder}

    return [
        Page("the first page", {}, {}),
        Page("the first page of everything", everything, {}, same=False),
        Page(
            "the last page of everything",
            everything | {"after": json.dumps(["file", key])},
            {"p": last},
            same=True,
        ),
        Page(
            "the last page by size, descending",
            everything | {"o": "-3", "after": json.dumps(["file", size, pk])},
            {"p": last, "o": "-2"},
            same=True,
        ),
        Page("a search for 12 files", {"q": "zeppelin"}, {"q": "zeppelin"}, same=True),
        Page("a search for a number", {"q": number}, {"q": number}, same=True),
        Page("a search for half of all", {"q": "json"}, {"q": "json"}),
        Page("half of all, sorted", {"q": "json", "sorted": 1}, {"q": "json"}),
        Page("a search for a tenth, at the end", {"q": "photos"}, {"q": "photos"}),
        Page("a tenth, sorted", {"q": "photos", "sorted": 1}, {"q": "photos"}, same=True),
        Page("a folder of a project", {"folder": project}, below(project)),
        Page("a folder of a tenth of all", {"folder": "exports/all/"}, below("exports/all/")),
        Page("a folder of many folders", {"folder": "users/"}, below("users/")),
        Page(
            "the same, deep inside",
            {"folder": "users/", "after": json.dumps(["folder", people])},
            below("users/") | {"p": rows // 5 // PER_PAGE},
        ),
        api("the first page of everything", everything, {}),
        api(
            "the last page of everything",
            everything | {"cursor": Cursor(json.dumps(["file", key])).encode()},
            {"offset": last * PER_PAGE - PER_PAGE, "ordering": "object_key"},
            same=True,
        ),
        api(
            "the last page by size, descending",
            everything | {"order": "-size", "cursor": last_by_size},
            {"offset": last * PER_PAGE - PER_PAGE, "ordering": "-size,-id"},
            same=True,
        ),
        api("a search for 12 files", {"q": "zeppelin"}, {"search": "zeppelin"}, same=True),
        api("a folder of a tenth of all", {"folder": "exports/all/"}, below("exports/all/")),
        api("a folder of many folders", {"folder": "users/"}, below("users/")),
    ]


def _row(sql: str, value: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} LIMIT 1", [value])
        return cursor.fetchone()


class Asking:
    """A superuser, logged in."""

    def __init__(self) -> None:
        user, _ = User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
        self._client = Client()
        self._client.force_login(user)

    def ask(self, path: str, query: dict[str, Any]) -> tuple[float, list[str]]:
        """Return the seconds of a request, and the ids of the files on its page."""
        start = time.perf_counter()
        answer = self._client.get(f"{path}?{urlencode(query)}")
        seconds = time.perf_counter() - start
        text = answer.content.decode()
        assert answer.status_code == 200, (path, query, answer.status_code, answer.headers)
        if "api" in path:
            found = json.loads(text)
            return seconds, [str(file["id"]) for file in found.get("files", found.get("results"))]
        if "That took too long" in text:
            return math.inf, []
        return seconds, re.findall(r'name="_selected_action" value="(\d+)"', text)


def measure(pages: list[Page], rounds: int) -> list[dict[str, Any]]:
    asking, found = Asking(), []
    for page in pages:
        our_list, stock_list = page.lists
        with CaptureQueriesContext(connection) as queries:
            asking.ask(our_list, page.ours)
            count = len(queries)
        ours: list[float] = []
        stock: list[float] = []
        end = time.monotonic() + SECONDS
        while len(ours) < LEAST or (len(ours) < rounds and time.monotonic() < end):
            seconds, shown = asking.ask(our_list, page.ours)
            ours.append(seconds)
            seconds, shown_by_stock = asking.ask(stock_list, page.stock)
            stock.append(seconds)
        if page.same:
            assert shown == shown_by_stock, (page, shown, shown_by_stock)
        found.append(
            {
                "name": page.name,
                "ours": median if math.isfinite(median := statistics.median(ours)) else None,
                "stock": statistics.median(stock),
                "queries": count,
            }
        )
        print(f"  {found[-1]}, {len(shown)} files, {len(ours)} runs", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    rows, rounds = map(int, sys.argv[1:])
    start = time.monotonic()
    fill(rows)
    loaded = time.monotonic() - start
    print(json.dumps([loaded, measure(pages(rows), rounds)]))
