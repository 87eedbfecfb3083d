"""What a process on the services gets: the variables, and the secret and bucket that they name."""

import json
import os
import secrets
from contextlib import suppress
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from project.sandbox.services.processes import patiently

# Browsers may upload straight to the bucket.
_CORS: Any = {
    "CORSRules": [{"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}]
}

# The account's own, whose secret MiniStack takes for right whatever it is.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}

_ALL_ALLOWED = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}

# Characters that a URL, a shell, SQL or an .ini file would trip over.
_ODD = " '\"\\%@:/ü"


class Postgres(NamedTuple):
    """Where the database is; the names are psycopg's."""

    host: str
    port: int
    user: str
    password: str
    dbname: str


def make_password() -> str:
    return secrets.token_urlsafe(12) + _ODD


def clean_environ() -> dict[str, str]:
    """Return this process's environment without what points at other services."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("APP_", "AWS_", "PG"))
    }


def make_user(endpoints: dict[str, str]) -> dict[str, str]:
    """Make a user of IAM who may do everything, and whose secret is checked; return its key."""
    iam = _client("iam", _aws_variables(endpoints))
    patiently(lambda: iam.create_user(UserName="files"))
    iam.put_user_policy(UserName="files", PolicyName="all", PolicyDocument=json.dumps(_ALL_ALLOWED))
    key = iam.create_access_key(UserName="files")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def prepare(postgres: Postgres, endpoints: dict[str, str]) -> dict[str, str]:
    """Make the secret and the bucket; return the variables."""
    variables = _aws_variables(endpoints) | _app_variables(postgres) | site_variables()
    make_bucket(_client("s3", variables), variables["APP_BUCKET_NAME"])
    _client("secretsmanager", variables).create_secret(
        Name=variables["APP_DB_SECRET"], SecretString=json.dumps({"password": postgres.password})
    )
    return variables


def _aws_variables(endpoints: dict[str, str]) -> dict[str, str]:
    return {
        # The second is the only one that boto3 knows, the first that of all other SDKs.
        **dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-central-1"),
        **CREDENTIALS,
        **endpoints,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "*"),  # a proxy would not find the services
    }


def _app_variables(postgres: Postgres) -> dict[str, str]:
    return {
        "APP_BUCKET_NAME": "files",
        "APP_DB_NAME": postgres.dbname,
        "APP_DB_USER": postgres.user,
        "APP_DB_HOST": postgres.host,
        "APP_DB_PORT": str(postgres.port),
        "APP_DB_SECRET": "files/database",
        "APP_DB_SSLMODE": "disable",  # what is here for a while has no certificate
    }


def site_variables() -> dict[str, str]:
    """Return the variables of a site for this machine alone."""
    return {
        "APP_SECRET_KEY": secrets.token_urlsafe(50),
        "APP_DEBUG": "true",
        "APP_ALLOWED_HOSTS": "localhost 127.0.0.1 [::1]",
        "PGAPPNAME": f"files-{secrets.token_hex(8)}",  # by which its connections are known
    }


def _client(service: str, variables: dict[str, str]) -> Any:
    session = boto3.session.Session(
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_REGION"],
    )
    config = Config(
        connect_timeout=2, read_timeout=30, retries={"total_max_attempts": 1}, proxies={}
    )
    make: Any = session.client
    own = variables.get(f"AWS_ENDPOINT_URL_{service.upper()}")
    return make(service, endpoint_url=own or variables["AWS_ENDPOINT_URL"], config=config)


def make_bucket(s3: Any, name: str) -> None:
    """Make a bucket that browsers upload to, and where an ACL may make an object public."""
    region = {"LocationConstraint": s3.meta.region_name}

    def create() -> None:
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(
                Bucket=name, CreateBucketConfiguration=region, ObjectOwnership="ObjectWriter"
            )

    patiently(create)
    s3.put_bucket_cors(Bucket=name, CORSConfiguration=_CORS)
    s3.delete_public_access_block(Bucket=name)
