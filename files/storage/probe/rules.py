"""What the bucket is set to: who may read it, and what it keeps and deletes by itself."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from files.storage.probe.ground import Ground
from files.storage.probe.promises import NotAskedError, promise

LISTING = {"list-type": "2", "max-keys": "1"}
BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@promise("privacy", "nobody gets anything without a signature", "the site's permissions are void")
def privacy(ground: Ground) -> Iterator[str]:
    objects, key = ground.storage.objects, f"{ground.folder}private"
    if ground.fetch(f"{objects.root}?{urlencode(LISTING)}").status == 200:
        yield "anybody may list it"
    with suppress(PermissionError):
        ground.put(key, b"private")
        if ground.fetch(objects.address(key)).status == 200:
            yield "anybody may read its objects"
    with suppress(NotAskedError, PermissionError):
        if _told(ground, "get_bucket_policy_status").get("PolicyStatus", {}).get("IsPublic"):
            yield "its policy opens it to the public"


@promise(
    "public access",
    "S3 blocks it, whatever a policy or an ACL says",
    "one rule may open it by mistake: switch on Block Public Access",
)
def public_access(ground: Ground) -> Iterator[str]:
    told = _told(ground, "get_public_access_block")
    found: Mapping[str, bool] = told.get("PublicAccessBlockConfiguration", {})
    off = [name for name in BLOCKS if not found.get(name)]
    if off:
        yield f"{', '.join(off)} are off"


@promise(
    "versioning",
    "S3 keeps what is overwritten or deleted",
    "nothing gives back what is deleted past this site, or by mistake: switch versioning on",
)
def versioning(ground: Ground) -> Iterator[str]:
    if _told(ground, "get_bucket_versioning").get("Status") != "Enabled":
        yield "it is off"


@promise(
    "lifecycle",
    "rules of the bucket delete what nobody else does",
    "it is paid for until somebody deletes it: add such a rule",
)
def lifecycle(ground: Ground) -> Iterator[str]:
    told = _told(ground, "get_bucket_lifecycle_configuration")
    rules = [rule for rule in told.get("Rules", ()) if _is_for(rule, ground.storage.location)]
    if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
        yield "no rule with AbortIncompleteMultipartUpload ends uploads that were broken off"
    if any("NoncurrentVersionExpiration" in rule for rule in rules):
        return
    with suppress(NotAskedError, PermissionError):
        if _told(ground, "get_bucket_versioning").get("Status") == "Enabled":
            yield "no rule with NoncurrentVersionExpiration ends the versions of deleted files"


def _is_for(rule: Mapping[str, Any], location: str) -> bool:
    """Return whether the rule is in force for all below the location."""
    chosen = rule.get("Filter", {})
    prefix = rule.get("Prefix") or chosen.get("Prefix") or chosen.get("And", {}).get("Prefix", "")
    return rule["Status"] == "Enabled" and location.startswith(prefix)


def _told(ground: Ground, operation: str) -> dict[str, Any]:
    """Return what S3 tells of the bucket, empty where nothing has been set.

    Raises PermissionError, and NotAskedError where S3 does not know the operation: some servers say
    so by 501, some by 500.
    """
    try:
        return ground.ask(operation).data
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except OSError:
        raise NotAskedError("this S3 does not tell") from None
