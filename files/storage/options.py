"""Options of django-storages: which of them hold here, and what to do instead of the others."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from storages.utils import setting

CREDENTIALS = "leave credentials to AWS's own variables, a profile or a role, so that they refresh"
IN_PARTS = "objects are read by ranges and written in parts, by threads where that helps"
PACKED = "an object is stored as the bytes that it is given"

# What cannot be changed: the value that holds, Django's settings for it, and what to do instead.
FIXED: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "access_key": (None, ("AWS_S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"), CREDENTIALS),
    "secret_key": (None, ("AWS_S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"), CREDENTIALS),
    "security_token": (None, ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"), CREDENTIALS),
    "session_profile": (None, ("AWS_S3_SESSION_PROFILE",), "set AWS_PROFILE in the environment"),
    "file_overwrite": (
        False,
        ("AWS_S3_FILE_OVERWRITE",),
        "replace() overwrites",
    ),
    "signature_version": ("s3v4", ("AWS_S3_SIGNATURE_VERSION",), "S3 asks for s3v4"),
    "addressing_style": (
        None,
        ("AWS_S3_ADDRESSING_STYLE",),
        "set addressing_style for s3 in AWS's configuration file",
    ),
    "file_name_charset": ("utf-8", ("AWS_S3_FILE_NAME_CHARSET",), "keys are UTF-8"),
    "gzip": (False, ("AWS_IS_GZIPPED",), PACKED),
    "gzip_content_types": (None, ("GZIP_CONTENT_TYPES",), PACKED),
    "proxies": (None, ("AWS_S3_PROXIES",), "set HTTPS_PROXY and NO_PROXY in the environment"),
    "use_ssl": (True, ("AWS_S3_USE_SSL",), "give an endpoint_url that begins with http://"),
    "verify": (None, ("AWS_S3_VERIFY",), "set AWS_CA_BUNDLE in the environment"),
    "max_memory_size": (0, ("AWS_S3_MAX_MEMORY_SIZE",), IN_PARTS),
    "use_threads": (True, ("AWS_S3_USE_THREADS",), IN_PARTS),
    "transfer_config": (None, ("AWS_S3_TRANSFER_CONFIG",), IN_PARTS),
    "client_config": (None, ("AWS_S3_CLIENT_CONFIG",), "use AWS's configuration file"),
    "config": (None, (), "use AWS's configuration file"),
}


def check_options(kind: type, options: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured for an option that would not hold.

    It may be given in STORAGES, as an attribute of a subclass, or as a setting of django-storages.
    """
    for name, (held, names, advice) in FIXED.items():
        given = {name: options.get(name, getattr(kind, name, None))}
        given |= {other: setting(other) for other in names}
        for option, value in given.items():
            if value is not None and value != held:
                raise ImproperlyConfigured(
                    f"{kind.__name__} does not take {option}={_shown(name, value)}: {advice}."
                )
    location = options.get("location", getattr(kind, "location", setting("AWS_LOCATION", "")))
    if location and not location.endswith("/"):
        raise ImproperlyConfigured(
            f"location={location!r} is put in front of each key as it is: it must end in a slash."
        )


def _shown(name: str, value: Any) -> str:
    return "..." if name in {"access_key", "secret_key", "security_token"} else repr(value)
