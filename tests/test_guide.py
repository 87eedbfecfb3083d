"""Read this first: the script that Files takes the place of, asked three ways for its text.

The script pulled the database's password from SecretsManager, selected the key of a row, got the
object and decoded it. Its test put an object into a bucket, inserted a row, and looked at the text.
"""

import json
import os

import boto3
import pytest
from django.core.management import call_command
from django.db import connection

from files.models import File

pytestmark = pytest.mark.django_db


@pytest.fixture
def pk(s3, bucket):
    """Put an object with boto3 and insert its row by SQL; return the id."""
    s3.put_object(Bucket=bucket, Key="/root/text.txt", Body="Grüße aus S3".encode())
    with connection.cursor() as cursor:
        cursor.execute("insert into files (object_key) values ('/root/text.txt') returning id")
        return cursor.fetchone()[0]


def test_the_text_is_read_by_the_model(pk):
    assert File.objects.get(pk=pk).read_text() == "Grüße aus S3"


def test_the_text_is_read_by_the_command(pk, capfd):
    call_command("read_file", pk)
    assert capfd.readouterr().out == "Grüße aus S3"


def test_the_text_is_read_by_the_view(pk, viewer):
    response = viewer.get(f"/files/{pk}/")
    assert response.getvalue().decode() == "Grüße aus S3"


def test_the_password_is_that_of_the_secret():
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["APP_DB_SECRET"])
    assert json.loads(secret["SecretString"])["password"] == connection.settings_dict["PASSWORD"]
