"""The schema of the API: it is valid, and the server answers as it says, whatever is asked."""

import os

import hypothesis
import pytest
import schemathesis
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from files.api.serializers import FileSerializer
from files.models import File, Run, Token, Work
from files.tokens import expiry
from tests import leaks
from tests.processes import manage

EXAMPLES = int(os.environ.get("API_EXAMPLES", "40"))  # for each operation
PATIENCE = 30  # seconds

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]

pytestmark = pytest.mark.alike


@pytest.mark.parametrize("jobs", ["true", "false"])
def test_the_schema_is_valid_and_says_all(jobs, tmp_path):
    file = tmp_path / "schema.yaml"
    command = ["spectacular", "--validate", "--fail-on-warn", "--file", str(file)]
    done = manage(*command, environ={"APP_JOBS": jobs})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ("/api/runs/" in file.read_text("utf-8")) is (jobs == "true")


@pytest.fixture
def ids(make_file):
    """Ids of rows that are there, by the names of the addresses."""
    user = User.objects.create_superuser("program")
    work = Work.objects.create(user_id=user.pk, title="Move", messages=[[25, "Moved."]])
    run = Run.objects.create(command="check_files")
    run.ranges.create(lines=1, output="- a.txt\n", attempts=1, counts={"missing": 1})
    token, _ = Token.objects.issue(user, expires_at=expiry(1))
    found = {"files": make_file("a/b.txt"), "works": work, "runs": run, "tokens": token}
    return {name: row.pk for name, row in found.items()}


@pytest.fixture
def schema(ids, serve):
    """The schema as the server has it, for a token that may do everything."""
    user = User.objects.get()
    _, text = Token.objects.issue(user, scope=Token.Scope.WRITE, expires_at=expiry(1))
    leaks.add(text)
    url = f"{serve(APP_JOBS='true', APP_DEBUG='false')}/api/schema/"
    headers = {"Authorization": f"Bearer {text}"}
    found = schemathesis.openapi.from_url(url, headers=headers)
    found.config.update(headers=headers)
    found.config.generation.update(with_security_parameters=False)
    return found


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", GenerationMode)
def test_the_server_answers_as_the_schema_says(schema, ids, mode):
    for found in schema.get_all_operations():
        operation = found.ok()
        can_be_wrong = operation.definition.raw.keys() & {"parameters", "requestBody"}
        if can_be_wrong or mode is GenerationMode.POSITIVE:
            ask(operation.as_strategy(mode), ids)


def ask(cases, ids):
    """Send such requests, one in two for a row that is there, and check the answers."""

    @hypothesis.settings(
        max_examples=EXAMPLES // 2,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=cases, is_there=st.booleans())
    def ask(case, is_there):
        kind = case.path.split("/")[2]
        if is_there and kind in ids and "id" in case.path_parameters:
            case.path_parameters["id"] = ids[kind]
        case.call_and_validate(checks=CHECKS, timeout=PATIENCE)

    ask()


def test_files_are_told_as_their_fields_in_the_schema_say(rf):
    now = timezone.now()
    names = (
        *("modified_at", "created_at", "verified_at"),
        *("missing_at", "changed_at", "damaged_at", "deleted_at"),
    )
    texts = {"content_type": "text/plain", "etag": '"1"', "checksum": "2", "storage_class": "3"}
    moments = dict.fromkeys(names, now)
    full = File(pk=5, object_key="ü//.", size=7, original_key="b", **texts, **moments)
    texts, moments = dict.fromkeys(texts, ""), moments | dict.fromkeys(names[2:])
    for file in (full, File(pk=6, object_key="a", **texts, **moments)):
        told = FileSerializer(file, context={"request": rf.get("/")})
        assert told.data == super(FileSerializer, told).to_representation(file)
        assert told.data.keys() == told.fields.keys()
