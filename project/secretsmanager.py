"""The database's credentials, from AWS SecretsManager: the only user of its client."""

import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from project import aws
from project.signals import secret_fetched

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_ADVICE = {
    "AccessDeniedException": "allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its"
    " key, to the role that runs this process",
    "DecryptionFailure": "allow kms:Decrypt on its key to the role that runs this process",
    "ExpiredTokenException": "renew the AWS credentials",
    "InvalidClientTokenId": "check the AWS credentials",
    "InvalidRequestException": "check that it is not scheduled for deletion",
    "InvalidSignatureException": "check the AWS credentials and the clock of this machine",
    "ResourceNotFoundException": "check APP_DB_SECRET, the region and the account",
    "UnrecognizedClientException": "check the AWS credentials",
}

# What STS and SSO answer when they are asked for credentials.
_ROLE_ADVICE = {
    "AccessDenied": "allow it in the role's trust policy and in the policies of who asks",
    "ExpiredToken": "renew the AWS credentials",
    "ExpiredTokenException": "renew the token in AWS_WEB_IDENTITY_TOKEN_FILE",
    "ForbiddenException": "check sso_account_id and sso_role_name of the profile",
    "InvalidIdentityToken": "check AWS_WEB_IDENTITY_TOKEN_FILE and the role's identity provider",
}


class SecretError(Exception):
    """A secret that cannot be had or used: one sentence with its id and what to do, no value."""


@cache
def _client() -> "SecretsManagerClient":
    client = aws.session().create_client("secretsmanager")
    return cast("SecretsManagerClient", client)


# A server's workers, forked after the settings have been loaded, would share its connection.
os.register_at_fork(after_in_child=_client.cache_clear)


def fetch(secret_id: str, stage: str = "AWSCURRENT") -> dict[str, Any]:
    """Return the secret's JSON object, which has a non-empty string under ``password``.

    The stage is the label of a version: during a rotation the next one is ``AWSPENDING``.

    Ends within 10 s, or 20 where STS or SSO give the credentials. Raises SecretError when the
    secret cannot be had or is not such an object.
    """
    try:
        secret = _client().get_secret_value(SecretId=secret_id, VersionStage=stage)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        secret_fetched.send(sender=None, outcome="failed")
        raise SecretError(_sentence(secret_id, *_explained(error))) from None
    secret_fetched.send(sender=None, outcome="done")
    return _parsed(secret_id, secret.get("SecretString"))


def _explained(error: Exception) -> tuple[str, str]:
    """Return what went wrong and what to do."""
    if isinstance(error, ClientError):
        return _refused(error)
    if isinstance(error, NoConnectionError | HTTPClientError):
        return _out_of_reach(error)
    if isinstance(error, NoRegionError):
        return "there is no AWS region", "set AWS_REGION"
    if isinstance(error, NoCredentialsError):
        advice = "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or run with an instance role"
        return "there are no AWS credentials", advice
    if isinstance(error, SSOError | TokenRetrievalError):
        return "the session of AWS SSO has expired or is not there", "run `aws sso login`"
    reason = " ".join(str(error).split()).rstrip(".")
    return reason, "check AWS's variables and configuration files"


def _refused(error: ClientError) -> tuple[str, str]:
    code = error.response["Error"]["Code"]
    if error.operation_name == "GetSecretValue":
        advice = _ADVICE.get(code, "see this code in the documentation of GetSecretValue")
        return f"SecretsManager says {code}", advice
    advice = _ROLE_ADVICE.get(code, "check AWS's variables and configuration files")
    return f"AWS gives no credentials, {error.operation_name} says {code}", advice


def _out_of_reach(error: BotoCoreError) -> tuple[str, str]:
    endpoint, service = _client().meta.endpoint_url, "SecretsManager"
    url = error.kwargs.get("endpoint_url") or endpoint
    if not url.startswith(endpoint):
        parts = urlsplit(url)
        endpoint, service = f"{parts.scheme}://{parts.netloc}", "What gives AWS credentials"
    reason = f"{service} is out of reach at {endpoint} ({type(error).__name__})"
    return reason, "check the network, AWS_REGION and AWS_ENDPOINT_URL"


def _parsed(secret_id: str, text: str | None) -> dict[str, Any]:
    problem = None
    value: Any = None
    if text is None:
        problem = "it is binary"
    else:
        try:
            value = json.loads(text)
        except ValueError:
            problem = "it is not JSON"
        else:
            problem = _problem(value)
    if problem:
        advice = 'store a JSON object such as {"password": "..."} in it'
        raise SecretError(_sentence(secret_id, problem, advice))
    return dict(value)


def _problem(value: object) -> str | None:
    if not isinstance(value, dict):
        return "it is not a JSON object"
    if "password" not in value:
        return "it has no password"
    if not isinstance(value["password"], str):
        return "its password is not a string"
    if not value["password"]:
        return "its password is empty"
    return None


def _sentence(secret_id: str, reason: str, advice: str) -> str:
    return f"The secret {secret_id!r} cannot be used: {reason}; {advice}."
