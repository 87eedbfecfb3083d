"""The one AWS session of the process, which SecretsManager and S3 share."""

import os
from functools import cache

import boto3
import botocore.session
from botocore.loaders import Loader


class _Loader(Loader):
    """Takes the names of the services as known: botocore reads 900 folders to list them."""

    def list_available_services(self, type_name: str) -> list[str]:
        return ["s3", "secretsmanager"]


@cache
def session() -> boto3.session.Session:
    """Return the session; region, credentials and endpoints come from AWS's own variables.

    ``AWS_REGION`` is read here because botocore knows only ``AWS_DEFAULT_REGION``, while the other
    AWS SDKs, ECS and Lambda set the first.
    """
    core = botocore.session.get_session()
    core.register_component("data_loader", _Loader())
    return boto3.session.Session(
        region_name=os.environ.get("AWS_REGION") or None, botocore_session=core
    )
