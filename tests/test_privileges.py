"""README's "Least privilege": what it grants is enough for all that a site does."""

import io
import re
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection

from files import jobs
from files.catalogue import owner
from files.models import File, Run
from files.storage.probe import probe
from files.storage.writing import PART_SIZE
from project import aws, secretsmanager
from tests.operations import create, execute, objects, rows
from tests.processes import manage
from tests.test_admin import LIST, act, do, keys, upload
from tests.test_probe_bucket import acting_as
from tests.test_readme import README

SECTION = README.split("\n### Least privilege\n")[1].split("\n## ")[0]
ROLES, GRANTS = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
JOBS = README.split("\n### More than one machine\n")[1].split("\n## ")[0]
(GRANTS_FOR_JOBS,) = re.findall(r"```sql\n(.*?)```", JOBS, re.DOTALL)
(POLICY,) = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)

pytestmark = pytest.mark.django_db(transaction=True)


def use(client, storage):
    """Do all that people do, from the login to the logout."""
    User.objects.create_superuser("admin", password="secret")
    login = client.post("/login/", {"username": "admin", "password": "secret"})
    assert (login.status_code, login.url) == (302, "/admin/")
    upload(client, file_name="a.txt", folder="a/")
    file = File.objects.get()
    assert client.get(file.get_absolute_url()).getvalue() == b"text"
    do(client, file, "replace", content=SimpleUploadedFile("a.txt", b"new"))
    do(client, file, "rename", name="b.txt", folder="a/")
    assert keys(client.get(LIST, {"folder": "a/"})) == ["a/b.txt"]
    assert keys(client.get(LIST, {"q": "b.t", "usage": 1, "o": "-3"})) == ["a/b.txt"]
    do(client, file, "trash")
    act(client, "restore", file, query="?state=trash")
    do(client, File.objects.trashed().get(), "delete", confirmed="True")
    assert (rows(), objects(storage)) == ([("a/b.txt", "a/b.txt", True)], {"a/b.txt": b"new"})
    create("large", b"x" * (PART_SIZE + 1)).delete()
    File.objects.get().trash()
    call_command("purge_files", "--older-than=0")
    assert (rows(), list(objects(storage))) == ([], [".files/owner"])
    assert client.post("/admin/logout/").status_code == 200


@pytest.fixture
def enter(own_services, bucket, transactional_db):
    """Make README's roles and database; return what lets this process connect as one of them."""
    own, prefix = dict(connection.settings_dict), f"{bucket}-least".replace("-", "_")
    options = {name: value for name, value in own["OPTIONS"].items() if name != "secret"}

    def named(sql):
        return re.sub(r"\bfiles_(?=owner|web)", f"{prefix}_", sql).replace(
            "DATABASE files ", f"DATABASE {prefix} "
        )

    def enter(role):
        connection.close()
        login = {"USER": f"{prefix}_{role}", "PASSWORD": "...", "OPTIONS": options}
        connection.settings_dict.update((own if role == "superuser" else login) | {"NAME": prefix})

    for statement in named(ROLES).strip().split("\n"):
        execute(statement)
    enter("owner")
    call_command("migrate", verbosity=0)
    execute(named(GRANTS))
    execute(named(GRANTS_FOR_JOBS))
    yield enter
    connection.close()
    connection.settings_dict.update(own)
    execute(f"drop database {prefix} with (force)")
    execute(f"drop role {prefix}_web")
    execute(f"drop role {prefix}_owner")


def test_the_role_of_the_web_does_all_that_a_site_does_and_no_more(enter, client, storage):
    enter("web")
    use(client, storage)
    for sql in ("alter table files add x int", "truncate files", "delete from django_migrations"):
        with pytest.raises(DatabaseError, match=r"must be owner|permission denied"):
            execute(sql)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_owner_of_the_bucket_has_the_system_identifier_where_that_may_be_asked_for(
    enter, is_allowed
):
    if not is_allowed:
        enter("superuser")
        execute("revoke execute on function pg_control_system() from public")
    enter("web")
    assert owner.this().system_identifier.isdecimal() == is_allowed
    owner.claim()
    assert owner.owner().is_same(owner.this())


def test_the_role_of_the_web_is_ready(enter, client):
    enter("web")
    assert client.get("/readyz").json() == {"database": "ok", "bucket": "ok"}


def test_the_role_of_the_web_works_off_jobs(enter, storage, put):
    put("a.txt", b"text")
    enter("web")
    call_command("import_files", "--distribute", stderr=io.StringIO())
    user, name = (connection.settings_dict[key] for key in ("USER", "NAME"))
    secret = (
        aws.session()
        .create_client("secretsmanager")
        .create_secret(Name=f"{user}/secret", SecretString='{"password": "..."}')
    )
    environ = {"APP_DB_USER": user, "APP_DB_NAME": name, "APP_DB_SECRET": secret["ARN"]}
    worker = "procrastinate", "worker", "--one-shot"
    assert manage(*worker, environ=environ | {"APP_JOBS": "true"}).returncode == 0
    assert rows() == [("a.txt", "a.txt", True)]
    jobs.stop(Run.objects.get())


def test_the_grants_name_every_table():
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    assert tables | {"django_migrations"} == set(
        re.findall(r"\b(?:\w+_\w+|files)\b(?=,| TO|\n)", GRANTS + GRANTS_FOR_JOBS)
    )


@pytest.fixture
def key(own_services, storage):
    """Make a user of IAM who has README's policy for the bucket; return the access key."""
    iam, user = aws.session().create_client("iam"), {"UserName": f"{storage.bucket_name}-least"}
    names = {"BUCKET": storage.bucket_name, "SECRET-??????": "files/*", "QUEUE": user["UserName"]}
    policy = re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], POLICY)
    policy = policy.replace("DeleteMessage", "DeleteMessage*")  # MiniStack has one for a batch
    iam.create_user(**user)
    iam.put_user_policy(PolicyName="least", PolicyDocument=policy, **user)
    key = iam.create_access_key(**user)["AccessKey"]
    yield key
    iam.delete_user_policy(PolicyName="least", **user)
    iam.delete_access_key(AccessKeyId=key["AccessKeyId"], **user)
    iam.delete_user(**user)


def test_the_policy_is_enough_for_all_that_a_site_does(key, client, storage, settings):
    with acting_as(key):
        use(client, storage)
        (result,) = probe(storage, ["permissions"])
        assert result.kept
        secret_id = connection.settings_dict["OPTIONS"]["secret"]
        assert list(secretsmanager.fetch(secret_id)) == ["password"]


@pytest.fixture
def make_queue(storage, settings):
    """Make a queue of this name behind that of the user, and let it be followed."""
    sqs, urls = aws.session().create_client("sqs"), []

    def make_queue(name):
        url = sqs.create_queue(QueueName=f"{storage.bucket_name}-least{name}")["QueueUrl"]
        settings.EVENTS_QUEUE_URL = url
        urls.append(url)
        sqs.send_message(QueueUrl=url, MessageBody='{"Event": "s3:TestEvent"}')

    yield make_queue
    for url in urls:
        sqs.delete_queue(QueueUrl=url)


def test_the_policy_is_enough_to_follow_events(key, make_queue, capsys):
    make_queue("")
    with acting_as(key):
        call_command("sync_files", "--once")
    assert capsys.readouterr().err.startswith("1 message: 0 rows added")


def test_a_queue_that_is_not_named_in_the_policy_is_refused_in_one_sentence(
    key, make_queue, settings
):
    make_queue("-other")
    with acting_as(key):
        with suppress(ClientError):
            aws.session().create_client("sqs").receive_message(QueueUrl=settings.EVENTS_QUEUE_URL)
            pytest.skip("the services of the run judge no policies")
        with pytest.raises(CommandError, match=r"allow sqs:ReceiveMessage") as raised:
            call_command("sync_files", "--once")
    assert raised.value.returncode == 2
