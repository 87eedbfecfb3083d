"""GET and HEAD of objects by signed requests: what is done thousands of times a second.

botocore's models, parsers and handlers are most of the work of a small request, and it never
continues a body that breaks. So reads are requests of our own: by urllib3, on which botocore is
built too, with botocore's credentials and presigned URLs. All else that is asked of S3 goes through
boto3's client.
"""

import errno
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from xml.etree import ElementTree

import urllib3
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext

from files.keys import MAX_KEY_LENGTH
from files.storage.circuit import asking, circuit_of
from files.storage.client import ATTEMPTS, client, configuration_errors
from files.storage.connections import connections
from files.storage.errors import (
    TRANSIENT,
    Refusal,
    S3Error,
    failed,
    no_object,
    refused,
    unreachable,
)
from files.storage.journal import Entry, requested
from project import aws

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

# An attempt that starts within the first 10 s ends within 3 + 15 more: under 30 s for a request.
LAST_ATTEMPT = 10
FIRST_WAIT = 0.1  # seconds between two attempts, twice as long after each
ANSWERS = {200, 206, 304, 412, 416}
OPERATIONS = {"GET": "GetObject", "HEAD": "HeadObject"}
LISTING = "ListObjectsV2"
LISTING_EXPIRES = 60  # seconds
NO_BUCKET = (
    "The name of the bucket is missing: set APP_BUCKET_NAME in the environment, or bucket_name in"
    " STORAGES."
)
NETWORK_ERRORS = (urllib3.exceptions.HTTPError, OSError)

T = TypeVar("T")


class Response:
    """S3's answer to a request: `status`, `headers`, and `raw`, the body as it comes."""

    def __init__(self, raw: urllib3.BaseHTTPResponse) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.raw = raw

    def close(self) -> None:
        """Give the connection back, or close it when there is more of the body."""
        if self.raw.length_remaining == 0:  # as after HEAD and with 304
            self.raw.drain_conn()
        self.raw.close()
        self.raw.release_conn()


_lock = threading.RLock()


def bucket(
    name: str, endpoint: str | None = None, region: str | None = None, location: str = ""
) -> "Bucket":
    """Return the bucket to read from. Raises ImproperlyConfigured."""
    if not name:
        raise ImproperlyConfigured(NO_BUCKET)
    with _lock:
        return _bucket(name, endpoint or None, region or None, location)


@cache
def _bucket(name: str, endpoint: str | None, region: str | None, location: str) -> "Bucket":
    with configuration_errors():
        return Bucket(aws.session(), client(endpoint, region), name, location)


class Bucket:
    """One bucket, to read from. Safe to use from many threads."""

    def __init__(
        self, session: "Session", client: "S3Client", name: str, location: str = ""
    ) -> None:
        """`client` tells where the bucket is: botocore knows a dozen rules for that.

        `location` stands in front of every key.
        """
        self.name = name
        self._location = location
        example = urlsplit(
            client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "x"})
        )
        # botocore presigns for the global host, which knows no region launched after March 2019.
        regional = urlsplit(client.meta.endpoint_url).netloc
        host = example.netloc.replace("s3.amazonaws.com", regional)
        self.origin = f"{example.scheme}://{host}"
        self._path = example.path.removesuffix("x")
        credential = parse_qs(example.query)["X-Amz-Credential"][0]
        self._region = credential.split("/")[-3]
        self._credentials = cast("Credentials", session.get_credentials())
        self._http = connections(session, self.origin)
        self._circuit = circuit_of(client)

    def full_key(self, key: str) -> str:
        """Return the key with the location. Raises S3Error where it is longer than S3's limit."""
        full = self._location + key
        if len(full.encode()) > MAX_KEY_LENGTH:
            text = gettext("S3 keeps no key of more than %d bytes, the location among them")
            raise S3Error(errno.ENAMETOOLONG, text % MAX_KEY_LENGTH, key)
        return full

    @property
    def root(self) -> str:
        """The URL of the bucket, unsigned."""
        return f"{self.origin}{self._path}"

    def address(self, key: str) -> str:
        """Return the URL of the object, unsigned."""
        return f"{self.root}{quote(self.full_key(key), safe='/')}"

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires: int = 60,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that allows `method` on the object for `expires` seconds.

        `params` are query parameters such as ``response-content-type``; `headers`, with names in
        small letters, must come with the request as they are.
        """
        request = AWSRequest(method, self.address(key), headers, params=dict(params or {}))
        self.signer(expires).add_auth(request)
        return cast("str", request.url)

    def sign(self, method: str, key: str, params: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return a URL, and the headers that allow `method` on it for 15 minutes (S3's limit).

        They stay out of the logs, which name URLs. Other headers may be sent besides.
        """
        url = f"{self.address(key)}?{urlencode(params, quote_via=quote)}"
        request = AWSRequest(method, url)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
        return url, dict(request.headers)

    def signer(
        self, expires: int, kind: type[S3SigV4QueryAuth] = S3SigV4QueryAuth
    ) -> S3SigV4QueryAuth:
        """Return what signs URLs for so many seconds, by the credentials of this moment."""
        return kind(self._credentials.get_frozen_credentials(), "s3", self._region, expires)

    def request(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send one request and return its answer: 200, 206, 304, 412 or 416.

        Failures that may pass are tried again, for less than 30 s in all. Raises FileNotFoundError,
        PermissionError, S3UnavailableError, S3Error.
        """
        send, take = partial(self._send, method, key, headers or {}), partial(_of_object, key)
        return self._ask(OPERATIONS[method], method, key, send, take)

    def list_page(self, prefix: str, **params: str) -> bytes:
        """Return the XML of one page of ListObjectsV2, of keys with the prefix.

        `params` are more of the query; all keys in it, and in the answer, have the location. Raises
        as `request` does.
        """
        query = {"list-type": "2", "encoding-type": "url", "prefix": self._location + prefix}

        def send() -> Response:
            request = AWSRequest("GET", self.root, params=query | params)
            self.signer(LISTING_EXPIRES).add_auth(request)
            return self.send(cast("str", request.url))

        return self._ask(LISTING, "GET", prefix, send, _whole)

    def _ask(
        self,
        operation: str,
        method: str,
        key: str,
        send: Callable[[], Response],
        take: Callable[[Response], T],
    ) -> T:
        """Return what `take` makes of S3's answer."""
        end = time.monotonic() + LAST_ATTEMPT
        for attempt in range(1, ATTEMPTS + 1):
            last = partial(_is_last, attempt, end)
            with requested(operation, self.full_key(key)) as entry:
                try:
                    response = send()
                    entry.answered(response.status, response.headers)
                    if response.status in ANSWERS:
                        return take(response)
                except S3Error:  # is an OSError too
                    raise
                except NETWORK_ERRORS as error:
                    entry.error = type(error).__name__
                    if last():
                        raise unreachable(self.origin, key, error) from None
                except BotoCoreError as error:
                    raise failed(self.origin, key, error) from None
                else:
                    if response.status not in TRANSIENT or last():
                        self._refuse(operation, method, key, response, entry)
                    response.close()
            back_off(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, method: str, key: str, headers: Mapping[str, str]) -> Response:
        """Send a request. S3 takes no header of its own that is not signed."""
        own = {name: value for name, value in headers.items() if name.startswith("x-amz-")}
        return self.send(self.presign(method, key, headers=own), method, headers)

    def send(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Response:
        """Send one request to a presigned URL. Raises what urllib3 raises, S3UnavailableError."""
        if not self._http.proxy or self._http.scheme == "https":
            url = url.removeprefix(self.origin)
        with asking(self._circuit):
            return Response(
                self._http.urlopen(
                    method,
                    url,
                    body=data,
                    headers=headers,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                )
            )

    def _refuse(
        self, operation: str, method: str, key: str, response: Response, entry: Entry
    ) -> NoReturn:
        """Raise what Python has for S3's refusal."""
        if method == "HEAD" and response.status in {400, 403}:
            response = self._explained(key, response)
        code, message = _error_code(response)
        entry.code = code
        origin, region = self.origin, response.headers.get("x-amz-bucket-region", "")
        raise refused(
            Refusal(operation, self.name, key, response.status, code, message, origin, region)
        )

    def _explained(self, key: str, response: Response) -> Response:
        """Return the answer to a GET where that is as the one to HEAD, which has no body."""
        response.close()
        try:
            found = self._send("GET", key, {"Range": "bytes=0-0"})
        except (*NETWORK_ERRORS, BotoCoreError):
            return response
        if found.status == response.status:
            return found
        found.close()
        return response


def _of_object(key: str, response: Response) -> Response:
    """Return the answer. Raises S3Error for one with content that is not an object's."""
    if response.status in {200, 206} and not response.headers.get("ETag"):
        response.close()
        raise no_object(key)
    return response


def _whole(response: Response) -> bytes:
    try:
        return response.raw.read(decode_content=True)
    finally:
        response.close()


def _is_last(attempt: int, end: float) -> bool:
    return attempt == ATTEMPTS or time.monotonic() > end


def back_off(attempt: int) -> None:
    """Sleep 0.1 s, 0.2 s, 0.4 s ... and at most 2 s, less up to half of it at random."""
    time.sleep(min(2, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1))  # noqa: S311


def _error_code(response: Response) -> tuple[str, str]:
    """Return code and message of S3's error document, empty where there is none."""
    try:
        root = ElementTree.fromstring(response.raw.read(64 * 2**10))  # noqa: S314 - from S3
    except (*NETWORK_ERRORS, ElementTree.ParseError):
        return "", ""
    finally:
        response.close()
    return root.findtext("Code") or "", root.findtext("Message") or ""
