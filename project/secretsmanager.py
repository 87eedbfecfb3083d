"""The database's credentials, from AWS SecretsManager: the only user of its client."""

import json
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from project import aws

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Two attempts of 2 s to connect and 2 s to answer, and at most 1 s between them: 9 s.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
)

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


class SecretError(Exception):
    """A secret that cannot be had or used: one sentence with its id and what to do, no value."""


@cache
def _client() -> "SecretsManagerClient":
    client = aws.session().create_client("secretsmanager", config=_CONFIG)
    return cast("SecretsManagerClient", client)


def fetch(secret_id: str) -> dict[str, Any]:
    """Return the secret's JSON object, which has a non-empty string under ``password``.

    Ends within 10 s. Raises SecretError when the secret cannot be had or is not such an object.
    """
    try:
        secret = _client().get_secret_value(SecretId=secret_id)
    except NoRegionError:
        raise SecretError(
            _sentence(secret_id, "there is no AWS region", "set AWS_REGION")
        ) from None
    except NoCredentialsError:
        advice = "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or run with an instance role"
        raise SecretError(_sentence(secret_id, "there are no AWS credentials", advice)) from None
    except (NoConnectionError, HTTPClientError) as error:
        endpoint = _client().meta.endpoint_url
        reason = f"SecretsManager is out of reach at {endpoint} ({type(error).__name__})"
        raise SecretError(
            _sentence(secret_id, reason, "check the network, AWS_REGION and AWS_ENDPOINT_URL")
        ) from None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        advice = _ADVICE.get(code, "see this code in the documentation of GetSecretValue")
        raise SecretError(_sentence(secret_id, f"SecretsManager says {code}", advice)) from None
    except (BotoCoreError, ValueError) as error:
        advice = "check AWS's variables and configuration files"
        raise SecretError(_sentence(secret_id, str(error), advice)) from None
    return _parsed(secret_id, secret.get("SecretString"))


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
