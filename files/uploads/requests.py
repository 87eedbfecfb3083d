"""What an upload asks for: each request as a typed value, refused where it is none."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.files.base import File as Content
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext

from files.keys import validate_new_key
from files.storage import MAX_PARTS, MAX_TYPE_LENGTH

MAX_AGE = 7 * 24 * 3600  # seconds that an upload may take
SALT = "files.uploads.ticket"

_HEADER_VALUE = re.compile(r"[ -~]*")  # RFC 9110 section 5.5, without what is deprecated there


class Fields:
    """The fields of a request, each read as its type. Raises ValidationError, naming the field."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, Mapping):
            raise ValidationError(gettext("The request must be a JSON object."))
        self._data = data

    def text(self, name: str) -> str:
        """Return a text."""
        return _text(name, self._get(name))

    def content_type(self, name: str) -> str:
        """Return a content's type, which a header can hold, empty for a field that is missing."""
        value = _text(name, self._data.get(name, ""))
        validate_content_type(value)
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false, the default for a field that is missing."""
        value = self._data.get(name, default)
        if not isinstance(value, bool):
            raise _wrong(name, gettext("“%s” must be true or false."))
        return value

    def size(self, name: str) -> int:
        """Return a number of bytes that an upload may have."""
        size = self._get(name)
        if type(size) is not int or size < 0:
            raise _wrong(name, gettext("“%s” must be a whole number of bytes, 0 or more."))
        if size > settings.MAX_OBJECT:
            text = gettext("A file may have at most %s.") % filesizeformat(settings.MAX_OBJECT)
            raise ValidationError(text, "too_large")
        return size

    def part_number(self, name: str) -> int:
        """Return the number of a part."""
        number = self._get(name)
        if type(number) is not int or not 1 <= number <= MAX_PARTS:
            raise _wrong(name, gettext("“%s” must be a whole number from 1 to 10,000."))
        return number

    def key(self, name: str) -> str:
        """Return an object's key."""
        key = self.text(name)
        validate_new_key(key)
        return key

    def digest(self, name: str) -> str:
        """Return a SHA-256 in Base64."""
        return _digest(name, self._get(name))

    def digests(self, name: str) -> list[str]:
        """Return a SHA-256 in Base64 for each part."""
        values = self._get(name)
        if not isinstance(values, list):
            raise _wrong(name, gettext("“%s” must be a list."))
        if len(values) > MAX_PARTS:
            raise _wrong(name, gettext("“%s” has more than 10,000 parts."))
        return [_digest(name, value) for value in values]

    def _get(self, name: str) -> object:
        if name not in self._data:
            raise _missing(name)
        return self._data[name]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, gettext("“%s” must be a text."))
    return value


def _digest(name: str, value: object) -> str:
    text = _text(name, value)
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != 32 or base64.b64encode(data).decode() != text:
        raise _wrong(name, gettext("“%s” must be a SHA-256 in Base64."))
    return text


def _missing(name: str) -> ValidationError:
    return _wrong(name, gettext("“%s” is missing."))


def _wrong(name: str, text: str) -> ValidationError:
    return ValidationError(text % name)


def validate_content(size: int, content_type: str) -> None:
    """Refuse a content that is too large to go through the application, or whose type is none."""
    if size > settings.MAX_UPLOAD:
        text = gettext(
            "At most %s can be sent at once; larger files go in parts, as from the list."
        )
        raise ValidationError(text % filesizeformat(settings.MAX_UPLOAD), "too_large")
    validate_content_type(content_type)


def validate_content_type(value: str) -> None:
    """Refuse what no header can hold: line ends above all, and what is not ASCII."""
    if not _HEADER_VALUE.fullmatch(value):
        raise _wrong("type", gettext("“%s” must be printable ASCII: no header can hold it."))


class Upload(Content):
    """A content under a key that is not cleaned, as Django does with an uploaded file's name."""

    def __init__(self, file: Any, key: str, content_type: str | None) -> None:
        super().__init__(file, key)
        self.content_type = content_type

    def sha256(self) -> str:
        """Return the SHA-256 of its bytes in Base64."""
        content: Any = self.file
        content.seek(0)
        return base64.b64encode(hashlib.file_digest(content, "sha256").digest()).decode()


class Ticket(NamedTuple):
    """What was agreed on when an upload in parts was begun."""

    operation: int
    key: str
    upload_id: str
    size: int
    part_size: int
    mark: str
    user: int
    replaces: int | None

    def sign(self) -> str:
        """Return it as text that only this application can have written."""
        return signing.dumps(self, salt=SALT)

    def length_of(self, number: int) -> int:
        """Return the bytes of a part. Raises ValidationError for one that the file has not."""
        rest = self.size - (number - 1) * self.part_size
        if rest <= 0:
            raise ValidationError(gettext("The file has no part of this number."))
        return min(rest, self.part_size)

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return the ticket of a request. Raises ValidationError for what is none, or too old."""
        try:
            return cls(*signing.loads(fields.text("ticket"), salt=SALT, max_age=MAX_AGE))
        except signing.SignatureExpired:
            raise ValidationError(gettext("This upload is too old: begin again."), "over") from None
        except (signing.BadSignature, UnicodeError):
            raise ValidationError(gettext("This is no ticket of an upload: begin again.")) from None


class Begin(NamedTuple):
    """A file that is to be sent; `direct` where the client can send parts to S3."""

    key: str
    size: int
    content_type: str
    direct: bool
    replace: bool

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return the request of these fields. Raises ValidationError."""
        key, size, content_type = (
            fields.key("key"),
            fields.size("size"),
            fields.content_type("type"),
        )
        direct = fields.flag("direct", default=True)
        replace = fields.flag("replace", default=False)
        return cls(key, size, content_type[:MAX_TYPE_LENGTH], direct, replace)


class Sign(NamedTuple):
    """A part that is to be sent, by its number and its SHA-256."""

    ticket: Ticket
    number: int
    digest: str

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return the request of these fields. Raises ValidationError."""
        return cls(Ticket.parse(fields), fields.part_number("number"), fields.digest("sha256"))


class Finish(NamedTuple):
    """All parts that have been sent, by their SHA-256."""

    ticket: Ticket
    digests: list[str]

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return the request of these fields. Raises ValidationError."""
        return cls(Ticket.parse(fields), fields.digests("sha256"))
