"""The one AWS session of the process, which SecretsManager and S3 share."""

import os
from functools import cache

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session

# For the clients that set nothing else: SecretsManager, and STS and SSO, which give credentials.
# Two attempts of 2 s to connect and 2 s to answer, and at most 1 s between them: 9 s.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
)


class _Loader(Loader):
    """Lists services by their folders; botocore looks into each of them, for 20 ms in all."""

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the names of all services, also of those that have nothing of the type."""
        paths = [path for path in self.search_paths if os.path.isdir(path)]
        folders = (entry for path in paths for entry in os.scandir(path) if entry.is_dir())
        return sorted({folder.name for folder in folders})


@cache
def session() -> Session:
    """Return the session; region, credentials and endpoints come from AWS's own variables.

    It is the session that boto3 wraps, and makes the same clients for less time.

    ``AWS_REGION`` is read here because botocore knows only ``AWS_DEFAULT_REGION``, while the other
    AWS SDKs, ECS and Lambda set the first. Raises BotoCoreError where a profile is unknown.
    """
    found = botocore.session.get_session()
    paths = found.get_component("data_loader").search_paths
    found.register_component("data_loader", _Loader(paths, include_default_search_paths=False))
    found.set_default_client_config(_CONFIG)
    if region := os.environ.get("AWS_REGION"):
        found.set_config_variable("region", region)
    return found
