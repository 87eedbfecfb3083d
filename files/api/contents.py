"""The content of a file as the body of a request, and what its address says."""

import re
import shutil
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from files.uploads import Fields, Upload, validate_content

# What curl and some libraries name where nobody says what a body is.
UNTOLD = "application/x-www-form-urlencoded"

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=([^,;]*)")  # RFC 9530 section 2


class ContentParser(parsers.BaseParser):
    """Reads nothing: what asks for fields, as the check of CSRF does, must not read a content."""

    media_type = "*/*"

    def parse(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return no fields."""
        return {}


def receive(request: Request, key: str) -> Upload:
    """Return the body as a content under the key, on disk where it is large: close it.

    Raises ValidationError where it is larger than may be, or is not what Content-Digest says.
    """
    kind = request.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() == "multipart/form-data":
        raise UnsupportedMediaType(kind, _("Send the content itself as the body, not a form."))
    kind = "" if kind == UNTOLD else kind
    with ExitStack() as closing:
        body = closing.enter_context(SpooledTemporaryFile(settings.FILE_UPLOAD_MAX_MEMORY_SIZE))
        shutil.copyfileobj(request._request, body)
        validate_content(body.tell(), kind)
        content = Upload(body, key, kind)
        _compare(request, content)
        closing.pop_all()
    return content


def _compare(request: Request, content: Upload) -> None:
    for told in _SHA256.findall(request.headers.get("Content-Digest", "")):
        if told.strip() != f":{content.sha256()}:":
            text = _("The body is not what its Content-Digest says: send it again.")
            raise ValidationError(text, "digest")


def query_fields(request: Request) -> Fields:
    """Return the parameters of the address; what is no UTF-8 is none in them either."""
    query = request.META.get("QUERY_STRING", "")
    if not query.isascii():
        raise ValidationError(_("Percent-encode what stands in the address."))
    given = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    flags = {"true": True, "false": False}
    return Fields(
        {
            name: flags.get(value, value) if name == "replace" else value
            for name, value in given.items()
        }
    )
