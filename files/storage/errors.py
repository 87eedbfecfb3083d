"""S3's errors as Python's own: what a caller of the storage catches.

A missing object is FileNotFoundError, one that is there FileExistsError, a permission that lacks
and credentials that S3 refuses PermissionError; the rest are these. All of them are OSError, and
each names the object's key as its `filename`.
"""

import errno
from typing import Any, NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class S3Error(OSError):
    """S3 refused a request for a reason that is neither the object nor a permission."""


class S3UnavailableError(S3Error):
    """S3 is out of reach, throttles, or fails; it may work later."""


class ObjectChangedError(S3Error):
    """The object was replaced or deleted while it was being read or written."""


class ArchivedError(S3Error):
    """S3 has archived the object: it is neither read nor copied before it is restored in S3."""


class Refusal(NamedTuple):
    """S3's refusal of a request; `code` is empty where the answer has no body, as with HEAD.

    `operation` is S3's name of it, or the method of a GET or HEAD of an object. `makes_new` stands
    for a write under the condition that there is no object.
    """

    operation: str
    bucket: str
    key: str
    status: int
    code: str
    message: str = ""
    endpoint: str = ""
    region: str = ""
    makes_new: bool = False


TRANSIENT = {429, 500, 502, 503, 504}
TRANSIENT_CODES = {"OperationAborted", "RequestTimeout", "SlowDown"}
CONDITIONS = {"ConditionalRequestConflict", "PreconditionFailed"}
ARCHIVED_CODES = {"InvalidObjectState", "ObjectNotInActiveTierError"}  # of a read, of a copy
MISSING = {
    *("", "404", "NoSuchKey", "NoSuchVersion"),
    *("NoSuchBucketPolicy", "NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration"),
    "NoSuchPublicAccessBlockConfiguration",
}
NEW_CREDENTIALS = _("get new ones, as by `aws sso login`, or see why the role gives none")


def _new(why: Any) -> Any:
    return format_lazy("{}: {}", why, NEW_CREDENTIALS)


# Codes that are about who asks, and not about the object, with what to do.
ADVICE = {
    "ExpiredToken": _new(_("the temporary credentials have expired")),
    "InvalidAccessKeyId": _(
        "S3 knows no such access key: check AWS_ACCESS_KEY_ID or the profile, and that the key"
        " belongs to this endpoint"
    ),
    "InvalidSecurity": _new(_("the credentials are not valid")),
    "InvalidToken": _new(_("the session token is not valid")),
    "NotSignedUp": _("the account has not signed up for S3"),
    "RequestTimeTooSkewed": _("the clock of this machine is wrong: set it by NTP"),
    "SignatureDoesNotMatch": _(
        "the secret key is not that of the access key: check AWS_SECRET_ACCESS_KEY or the profile,"
        " and that no proxy changes the request"
    ),
    "TokenRefreshRequired": _new(_("the session token must be renewed")),
}

TAKEN = _("There is an object of this key")
CHANGED = _("The object has changed meanwhile")

# The permission that an operation needs, where it has not the operation's name.
ACTIONS = {
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:PutObject, s3:GetObject and, for tags, s3:PutObjectTagging and"
    " s3:GetObjectTagging",
    "CreateMultipartUpload": "s3:PutObject",
    "GetBucketCors": "s3:GetBucketCORS",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutBucketCors": "s3:PutBucketCORS",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject and s3:GetObject",
}
READS = {"GET", "HEAD", "GetObject", "HeadObject"}
NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)


def refused(refusal: Refusal) -> OSError:
    """Return Python's error for a refusal."""
    status, code, key = refusal.status, refusal.code, refusal.key
    if code in ADVICE:
        text = gettext("S3 refuses the credentials (%(code)s): %(advice)s")
        return PermissionError(errno.EACCES, text % {"code": code, "advice": ADVICE[code]}, key)
    if status in {409, 412} and code in CONDITIONS:
        return taken(key) if refusal.makes_new else changed(key)
    if status == 404 and code in MISSING:
        text = gettext("There is no such object in the bucket %s") % refusal.bucket
        return FileNotFoundError(errno.ENOENT, text, key)
    if code in ARCHIVED_CODES:
        text = gettext(
            "The object is archived: restore it in S3 first, by `aws s3api restore-object`"
        )
        return ArchivedError(errno.EIO, text, key)
    if status == 403:
        return PermissionError(errno.EACCES, _forbidden(refusal), key)
    if status in TRANSIENT or code in TRANSIENT_CODES:
        text = f"S3 fails at {refusal.endpoint}: {status} {code}".rstrip()
        return S3UnavailableError(errno.EAGAIN, text, key)
    return S3Error(errno.EIO, _other(refusal), key)


def taken(key: str, text: Any = TAKEN) -> FileExistsError:
    """Return the error of a write that makes no object, as there is one."""
    return FileExistsError(errno.EEXIST, str(text), key)


def changed(key: str, text: Any = CHANGED) -> ObjectChangedError:
    """Return the error of an object that is not the one that was meant."""
    return ObjectChangedError(errno.ESTALE, str(text), key)


def no_object(key: str) -> S3Error:
    """Return the error of an answer that is about something else than an object, as the bucket."""
    text = gettext("S3 answers without size, ETag or time: this server does not keep this key")
    return S3Error(errno.EIO, text, key)


def folded(key: str) -> S3Error:
    """Return the error of a key by which the server keeps no object, as it takes it for another."""
    text = gettext(
        "This S3 server takes the key for another one: choose a key without //, \\, a slash at"
        " either end, and the segments . and .."
    )
    return S3Error(errno.EINVAL, text, key)


def unreachable(endpoint: str, key: str, error: Exception) -> S3UnavailableError:
    """Return the error of a request without an answer. It names of the address only the host."""
    text = f"S3 is out of reach at {endpoint} ({type(error).__name__})"
    return S3UnavailableError(errno.EHOSTUNREACH, text, key)


def failed(endpoint: str, key: str, error: BotoCoreError) -> Exception:
    """Return Python's error for what botocore raises before or without an answer of S3."""
    if isinstance(error, NO_CREDENTIALS):
        text = gettext("There are no credentials for S3: %s") % str(error).rstrip(".")
        return PermissionError(errno.EACCES, text, key)
    if isinstance(error, ParamValidationError):
        return ValueError(str(error))
    if isinstance(error, NoConnectionError | HTTPClientError):
        return unreachable(endpoint, key, error)
    return S3Error(errno.EIO, str(error), key)


def _forbidden(refusal: Refusal) -> str:
    code = refusal.code if refusal.code not in {"", "403"} else "Forbidden"
    if refusal.operation in READS:
        text = gettext(
            "S3 refuses the object (%(code)s): allow s3:GetObject on it to the role of this"
            " process, and s3:ListBucket on the bucket %(bucket)s, without which S3 refuses a"
            " missing object too"
        )
        return text % {"code": code, "bucket": refusal.bucket}
    action = ACTIONS.get(refusal.operation, f"s3:{refusal.operation}")
    text = gettext(
        "S3 refuses %(operation)s (%(code)s): allow %(action)s to the role of this process"
    )
    return text % {"operation": refusal.operation, "code": code, "action": action}


def _other(refusal: Refusal) -> str:
    about = {"operation": refusal.operation, "bucket": refusal.bucket, "region": refusal.region}
    message = refusal.message
    if refusal.region:
        message = gettext("the bucket %(bucket)s is in %(region)s: set AWS_REGION") % about
    text = gettext("S3 refuses %(operation)s in the bucket %(bucket)s:") % about
    return f"{text} {refusal.status} {refusal.code} {message}".rstrip()
