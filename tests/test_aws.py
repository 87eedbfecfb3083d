"""Credentials that come from STS and SSO, each in a process that really starts with them."""

import json
import os
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha1

import botocore.session
import pytest
from django.conf import settings

from project import aws
from tests.processes import manage
from tests.test_startup import fails, gives_up

START_URL = "https://sso.example/start"
SSO_PROFILES = f"""
[profile legacy]
sso_start_url = {START_URL}
sso_region = eu-central-1
sso_account_id = 123456789012
sso_role_name = reader

[profile session]
sso_session = people
sso_account_id = 123456789012
sso_role_name = reader

[sso-session people]
sso_start_url = {START_URL}
sso_region = eu-central-1
"""

# What lets a program renew a session.
REGISTERED = {
    "clientId": "id",
    "clientSecret": "secret",
    "registrationExpiresAt": "2099-01-01T00:00:00Z",
}


# What the role of a process needs for one file and its text.
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": resource}
        for action, resource in (
            ("secretsmanager:GetSecretValue", "*"),
            ("s3:GetObject", "arn:aws:s3:::*/*"),
        )
    ],
}
PROVIDER = "tokens.example"

SECRET = {"Name": "any", "SecretString": '{"password": "s3cr3t"}'}


@pytest.fixture
def role(own_services, bucket):
    """Make a role that our account and the provider of web identities may take; return its ARN."""
    account = aws.session().create_client("sts").get_caller_identity()["Account"]
    takers = [
        ("sts:AssumeRole", {"AWS": f"arn:aws:iam::{account}:root"}),
        (
            "sts:AssumeRoleWithWebIdentity",
            {"Federated": f"arn:aws:iam::{account}:oidc-provider/{PROVIDER}"},
        ),
    ]
    trust = [
        {"Effect": "Allow", "Action": action, "Principal": principal}
        for action, principal in takers
    ]
    iam = aws.session().create_client("iam")
    name = f"{bucket}-reader"  # beside those of the run's other processes
    made = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}),
    )
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(POLICY))
    yield made["Role"]["Arn"]
    iam.delete_role_policy(RoleName=name, PolicyName="read")
    iam.delete_role(RoleName=name)


@pytest.fixture
def without_keys(tmp_path):
    """Return the environment of a machine that has no keys, and its home in tmp_path."""
    return {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }


@pytest.fixture
def web_identity(without_keys, role, tmp_path):
    """Return the environment in which EKS and GitHub start a process."""
    token = tmp_path / "token"
    parts = ({"alg": "none"}, {"iss": f"https://{PROVIDER}", "sub": "process"}, {})
    token.write_text(
        ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    )
    return without_keys | {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}


@pytest.fixture
def sso(tmp_path, without_keys, answering):
    """Serve SSO, which knows the tokens "good" and, once it has given it, "renewed"."""
    tokens = {"good"}
    given = aws.session().create_client("sts").get_session_token()["Credentials"]
    keys = {
        "accessKeyId": given["AccessKeyId"],
        "secretAccessKey": given["SecretAccessKey"],
        "sessionToken": given["SessionToken"],
        "expiration": given["Expiration"].timestamp() * 1000,
    }

    def answer(path, headers, body):
        if body and json.loads(body)["refreshToken"] == "refresh":  # CreateToken of SSO OIDC
            tokens.add("renewed")
            return 200, {}, b'{"accessToken": "renewed", "expiresIn": 3600}'
        if headers["x-amz-sso_bearer_token"] in tokens:  # GetRoleCredentials of SSO
            return 200, {}, json.dumps({"roleCredentials": keys}).encode()
        return 401, {"x-amzn-ErrorType": "UnauthorizedException"}, b"{}"

    (tmp_path / "config").write_text(SSO_PROFILES)
    url = answering(answer)
    return without_keys | {"AWS_ENDPOINT_URL_SSO": url, "AWS_ENDPOINT_URL_SSO_OIDC": url}


def sign_in(home, name, hours, **token):
    """Write the file that `aws sso login` leaves."""
    folder = home / ".aws" / "sso" / "cache"
    folder.mkdir(parents=True)
    expires = f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    content = {"startUrl": START_URL, "expiresAt": expires, "accessToken": "good"} | token
    (folder / f"{sha1(name.encode()).hexdigest()}.json").write_text(json.dumps(content))  # noqa: S324


def reads(file, environ):
    """Check that a process with this environment reads the secret, the row and the object."""
    name = settings.DATABASES["default"]["NAME"]
    done = manage("read_file", str(file.pk), environ={"APP_DB_NAME": name} | environ)
    assert (done.stdout, done.stderr, done.returncode) == (b"text", b"", 0)


def explained(environ):
    """Return the reason and the advice with which a process ends."""
    return fails(["check"], environ).partition("cannot be used: ")[2]


def test_every_service_of_botocore_is_there():
    stock = botocore.session.get_session().get_available_services()
    assert aws.session().get_available_services() == stock


def test_models_of_aws_data_path_are_there(tmp_path, monkeypatch):
    (tmp_path / "mine" / "2026-01-01").mkdir(parents=True)
    (tmp_path / "mine" / "2026-01-01" / "service-2.json").write_text('{"metadata": {}}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert aws.session.__wrapped__().get_service_data("mine") == {"metadata": {}}


@pytest.mark.django_db(transaction=True)
def test_a_web_identity_reads(make_file, web_identity):
    reads(make_file(), web_identity)


@pytest.mark.django_db(transaction=True)
def test_a_role_of_a_profile_reads(make_file, role, without_keys, tmp_path):
    (tmp_path / "config").write_text(
        f"[profile reader]\nrole_arn = {role}\nsource_profile = person\n"
    )
    (tmp_path / "credentials").write_text(
        f"[person]\naws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    )
    reads(make_file(), without_keys | {"AWS_PROFILE": "reader"})


@pytest.mark.django_db(transaction=True)
def test_an_sso_profile_reads(make_file, sso, tmp_path):
    sign_in(tmp_path, START_URL, hours=1)
    reads(make_file(), sso | {"AWS_PROFILE": "legacy"})


@pytest.mark.django_db(transaction=True)
def test_an_sso_session_that_has_expired_is_renewed_and_reads(make_file, sso, tmp_path):
    sign_in(tmp_path, "people", hours=-1, refreshToken="refresh", **REGISTERED)
    reads(make_file(), sso | {"AWS_PROFILE": "session"})


@pytest.mark.parametrize(
    ("profile", "name", "token"),
    [
        ("legacy", START_URL, {"hours": -1}),
        ("legacy", START_URL, {"hours": 1, "accessToken": "ended"}),
        ("legacy", "of another profile", {"hours": 1}),
        ("session", "people", {"hours": -1}),
        ("session", "people", {"hours": -1, "refreshToken": "ended"} | REGISTERED),
    ],
)
def test_an_sso_session_that_is_over_is_one_sentence(sso, tmp_path, profile, name, token):
    sign_in(tmp_path, name, **token)
    sentence = "the session of AWS SSO has expired or is not there; run `aws sso login`."
    assert explained(sso | {"AWS_PROFILE": profile}) == sentence


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("AccessDenied", "allow it in the role's trust policy and in the policies of who asks"),
        ("NewCode", "check AWS's variables and configuration files"),
    ],
)
def test_a_role_that_is_refused_is_one_sentence(web_identity, answering, code, advice):
    error = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
    url = answering(lambda *request: (403, {}, error.encode()))
    assert explained(web_identity | {"AWS_ENDPOINT_URL_STS": url}) == (
        f"AWS gives no credentials, AssumeRoleWithWebIdentity says {code}; {advice}."
    )


def test_sts_that_never_answers_is_given_up_within_10_s(web_identity):
    url, line, seconds = gives_up("AWS_ENDPOINT_URL_STS", web_identity)
    assert line.endswith(
        f": What gives AWS credentials is out of reach at {url} (ReadTimeoutError);"
        " check the network, AWS_REGION and AWS_ENDPOINT_URL."
    )
    assert seconds < 10


def test_a_token_file_that_is_not_there_is_one_sentence(web_identity):
    assert explained(web_identity | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such"}) == (
        "[Errno 2] No such file or directory: '/no/such';"
        " check AWS's variables and configuration files."
    )


def test_a_program_that_gives_no_credentials_is_one_sentence(without_keys, tmp_path):
    program = f"{sys.executable} -c 'exit(\"first line\\nsecond line\")'"
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    assert explained(without_keys) == (
        "Error when retrieving credentials from custom-process: first line second line;"
        " check AWS's variables and configuration files."
    )


def test_secretsmanager_is_asked_once_more_where_it_fails(answering):
    asked = []

    def answer(path, headers, body):
        asked.append(json.loads(body))
        return (500, {}, b"{}") if len(asked) == 1 else (200, {}, json.dumps(SECRET).encode())

    done = manage("diffsettings", environ={"AWS_ENDPOINT_URL_SECRETS_MANAGER": answering(answer)})
    assert (done.returncode, done.stderr) == (0, b"")
    assert asked == [{"SecretId": os.environ["APP_DB_SECRET"], "VersionStage": "AWSCURRENT"}] * 2


def test_a_proxy_that_is_out_of_reach_is_one_sentence():
    endpoint = aws.session().create_client("secretsmanager").meta.endpoint_url
    direct = dict.fromkeys(("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"))
    proxied = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    assert explained(direct | proxied) == (
        f"SecretsManager is out of reach at {endpoint} (ProxyConnectionError);"
        " check the network, AWS_REGION and AWS_ENDPOINT_URL."
    )
