"""Who may do what: the role's permissions, credentials, presigned URLs, the clock, and CORS."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from files.storage import cors
from files.storage.client import CONFIG
from files.storage.probe.ground import Ground
from files.storage.probe.promises import NotAskedError, promise
from project import aws

if TYPE_CHECKING:
    from botocore.credentials import Credentials

DRIFT = timedelta(minutes=1)  # of a clock that is set by NTP; SigV4's limit is 15 minutes

# Permissions, with a request that needs no other; what it asks for is not there.
ON_OBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "s3:DeleteObject": ("delete_object", {}),
    "s3:AbortMultipartUpload": ("abort_multipart_upload", {"UploadId": "none"}),
    "s3:ListMultipartUploadParts": ("list_parts", {"UploadId": "none"}),
    "s3:PutObject": ("put_object", {}),
    "s3:GetObject": ("head_object", {}),
    "s3:GetObjectTagging": ("get_object_tagging", {}),
    "s3:PutObjectTagging": ("put_object_tagging", {"Tagging": {"TagSet": []}}),
}
ON_BUCKET: dict[str, tuple[str, dict[str, Any]]] = {
    "s3:ListBucket": ("list_objects_v2", {"MaxKeys": 1}),
    "s3:ListBucketMultipartUploads": ("list_multipart_uploads", {"MaxUploads": 1}),
    "s3:GetBucketCORS": ("get_bucket_cors", {}),
}


@promise("permissions", "the role has those that README names")
def permissions(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}permissions"
    asked = dict(ON_OBJECTS)
    if _is_refused(ground, key, *asked["s3:DeleteObject"]):
        del asked["s3:PutObject"]  # what was put would stay
    missing = [
        *(name for name, request in asked.items() if _is_refused(ground, key, *request)),
        *(name for name, request in ON_BUCKET.items() if _is_refused(ground, "", *request)),
    ]
    if missing:
        yield f"allow {', '.join(missing)} to the role of this process"


def _is_refused(ground: Ground, key: str, operation: str, parameters: dict[str, Any]) -> bool:
    ask = ground.write if operation == "put_object" else ground.ask
    try:
        ask(operation, key, **parameters)
    except PermissionError:
        return True
    except FileNotFoundError:  # as of CORS rules that there are not
        return False
    return False


@promise(
    "clock",
    "S3's and this machine's differ by less than a minute",
    "from 15 minutes on S3 refuses every request",
)
def clock(ground: Ground) -> Iterator[str]:
    if ground.ahead is None:
        raise NotAskedError("S3 tells no date")
    if abs(ground.ahead) > DRIFT:
        seconds = round(ground.ahead.total_seconds())
        yield f"S3's is {seconds:+} s from this machine's: set this machine's by NTP"


@promise("CORS", "browsers may send the parts of large files", "large files cannot be uploaded")
def browsers(ground: Ground) -> Iterator[str]:
    origins = cors.site_origins()
    if not origins:
        raise NotAskedError("no setting names the origin of the site")
    barred = cors.barred(ground.storage.cors_rules(), origins)
    if barred:
        rule = cors.as_text(cors.rule_for(barred))
        yield f"not from {', '.join(barred)}: `manage.py bucket_cors --set` adds this rule: {rule}"


@promise(
    "open CORS",
    "no rule lets the pages of any site write",
    "whoever gets hold of a presigned URL can use it from a page: name the site's own origin",
)
def open_cors(ground: Ground) -> Iterator[str]:
    found = [cors.as_text(rule) for rule in ground.storage.cors_rules() if cors.is_open(rule)]
    if found:
        yield f"these do: {', '.join(found)}"


@promise("credentials", "a wrong secret key is refused")
def credentials(ground: Ground) -> Iterator[str]:
    with closing(_client_with_wrong_key(ground)) as client:
        try:
            client.list_objects_v2(Bucket=ground.storage.objects.name, MaxKeys=1)
        except ClientError:
            return
    yield "a wrong secret key is accepted, so that anybody may do everything"


def _client_with_wrong_key(ground: Ground) -> Any:
    storage, session = ground.storage, aws.session()
    own = cast("Credentials", session.get_credentials()).get_frozen_credentials()
    return session.create_client(
        "s3",
        endpoint_url=storage.endpoint_url,
        region_name=storage.region_name,
        config=CONFIG,
        aws_access_key_id=own.access_key,
        aws_secret_access_key=f"{own.secret_key}x",
        aws_session_token=own.token,
    )


@promise("presigned URLs", "they work for what they were signed for, and as long as they say")
def presigned_urls(ground: Ground) -> Iterator[str]:
    key, other = f"{ground.folder}signed", f"{ground.folder}other"
    ground.put(key, b"signed")
    ground.put(other, b"other")
    params = {"response-content-type": "text/x-own"}
    url = ground.storage.presign("GET", key, params=params)
    response = ground.fetch(url)
    if (response.status, response.data) != (200, b"signed"):
        yield f"a good one is refused with {response.status}"
    elif response.headers.get("Content-Type") != "text/x-own":
        yield "the headers of the answer that one names are ignored"
    if ground.fetch(url.replace("/signed?", "/other?")).status == 200:
        yield "one that was tampered with is accepted"
    if ground.fetch(_expired(ground, key)).status == 200:
        yield "one that has expired is accepted"


class _Backdated(S3SigV4QueryAuth):
    """Signs as of an hour ago."""

    def _modify_request_before_signing(self, request: Any) -> None:
        moment = datetime.now(UTC) - timedelta(hours=1)
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)  # type: ignore[misc] # not in the stubs


def _expired(ground: Ground, key: str) -> str:
    objects = ground.storage.objects
    request = AWSRequest("GET", objects.address(key), params={})
    objects.signer(60, _Backdated).add_auth(request)
    return str(request.url)
