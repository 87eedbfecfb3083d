"""The one AWS session of the process, which SecretsManager and S3 share."""

import os
from functools import cache

import botocore.session
from botocore.loaders import Loader
from botocore.session import Session


class _Loader(Loader):
    """Takes the names of the services as known: botocore reads 900 folders to list them."""

    def list_available_services(self, type_name: str) -> list[str]:
        return ["s3", "secretsmanager"]


@cache
def session() -> Session:
    """Return the session; region, credentials and endpoints come from AWS's own variables.

    It is the session that boto3 wraps, and makes the same clients, but without boto3's transfer
    manager, whose import is a twentieth of a short command's time.

    ``AWS_REGION`` is read here because botocore knows only ``AWS_DEFAULT_REGION``, while the other
    AWS SDKs, ECS and Lambda set the first.
    """
    found = botocore.session.get_session()
    found.register_component("data_loader", _Loader())
    if region := os.environ.get("AWS_REGION"):
        found.set_config_variable("region", region)
    return found
