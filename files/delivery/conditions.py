"""What a client asks for besides the content: a range, and conditions (RFC 9110, 13 and 14)."""

import re
from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags, parse_http_date_safe, quote_etag

CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")

_ONE_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))", re.ASCII)
# What stands for the last 0 bytes: radosgw, unlike others, sends the whole object for `bytes=-0`.
_NO_BYTE = f"bytes={10**18}-"


def one_range(request: HttpRequest) -> str:
    """Return the range of a GET, empty where it is to be ignored (RFC 9110 section 14.2).

    One that has no byte of any object is written so that each S3 server knows it for such.
    """
    wanted = request.headers.get("Range", "").strip().lower()  # SeaweedFS knows `bytes` alone
    found = _ONE_RANGE.fullmatch(wanted)
    if request.method != "GET" or not found:
        return ""
    if found[3] and int(found[3]) == 0:
        return _NO_BYTE
    return "" if found[2] and int(found[2]) < int(found[1]) else wanted


def is_beyond(wanted: str, size: int | None) -> bool:
    """Return whether no byte of an object of that size is in the range."""
    found = _ONE_RANGE.fullmatch(wanted)
    if not found or size is None:
        return False
    return size == 0 if found[3] else int(found[1]) >= size


def is_conditional(request: HttpRequest) -> bool:
    """Return whether the answer depends on more than the range."""
    ignored = set() if one_range(request) else {"If-Range"}  # RFC 9110 section 13.1.5
    return any(name in request.headers for name in CONDITIONS if name not in ignored)


def can_be_asked_by_client(request: HttpRequest, size: int | None) -> bool:
    """Return whether each S3 server answers the client's own request as this process would.

    All of them judge one strong ETag in If-None-Match, or a date in If-Modified-Since, and serve
    one range. They ignore If-Range, differ about all else, and send error documents; to HEAD
    some of them tell type and disposition of the object, not those of the URL.
    """
    wanted = one_range(request)
    if request.method == "HEAD":
        return False
    if "Range" in request.headers and request.headers["Range"] != wanted:
        return False
    return not is_beyond(wanted, size) and (not is_conditional(request) or _is_simple(request))


def _is_simple(request: HttpRequest) -> bool:
    conditions = {name: request.headers[name] for name in CONDITIONS if name in request.headers}
    return conditions == s3_conditions(conditions, "") and conditions.keys() < {*CONDITIONS[1:3]}


def s3_conditions(headers: Mapping[str, str], etag: str) -> dict[str, str]:
    """Return the conditions that S3 can judge, by the precedence of RFC 9110 section 13.2.2.

    S3 knows one ETag at a time. Of a list it gets the row's, or the first; `judge` looks again.
    """
    conditions = {}
    if none_match := headers.get("If-None-Match"):
        tags = [tag.removeprefix("W/") for tag in parse_etags(none_match)]
        if tags and tags != ["*"]:
            conditions["If-None-Match"] = etag if etag in tags else tags[0]
    elif _is_date(since := headers.get("If-Modified-Since", "")):
        conditions["If-Modified-Since"] = since
    if match := headers.get("If-Match"):
        tags = parse_etags(match)
        if len(tags) == 1 and tags != ["*"]:
            conditions["If-Match"] = tags[0]
    elif _is_date(since := headers.get("If-Unmodified-Since", "")):
        conditions["If-Unmodified-Since"] = since
    return conditions


def _is_date(text: str) -> bool:
    return parse_http_date_safe(text) is not None


def judge(request: HttpRequest, validators: Mapping[str, str]) -> int:
    """Return 304 or 412 where the client's conditions forbid the content, and otherwise 200.

    `validators` are S3's headers, of which ETag and Last-Modified count.
    """
    judged = get_conditional_response(
        request,
        etag=quote_etag(validators["ETag"]) if "ETag" in validators else None,
        last_modified=parse_http_date_safe(validators.get("Last-Modified", "")),
        response=HttpResponse(),
    )
    return judged.status_code if judged is not None else 200


def matches_if_range(request: HttpRequest, validators: Mapping[str, str]) -> bool:
    """Return whether If-Range has the object's ETag or date, or is absent.

    It is compared strongly (RFC 9110 section 13.1.5): a weak ETag never matches, a date exactly.
    """
    wanted = request.headers.get("If-Range")
    names = ("ETag", "Last-Modified")
    return wanted is None or wanted.strip() in {validators.get(name) for name in names}
