"""What the admin shows of a file's content, for one small request to S3.

A browser fetches by itself what it can show by itself; all else is read here, and never run.
"""

import codecs
import csv
import io
import logging
import mimetypes
import re
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.formats import number_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from files import audit, delivery
from files.errors import reason
from files.models import File
from files.storage import ArchivedError

logger = logging.getLogger(__name__)

LIMIT = 64 * 2**10  # bytes of a text
DUMPED = 256  # bytes of what is none
ROWS, COLUMNS = 100, 50
SNIFFED = 2 * 2**10  # characters: csv.Sniffer takes quadratic time

TEXT = re.compile(
    r"text/.+|.+\+(?:json|xml|yaml)|application/(?:x-)?(?:csh|ecmascript|graphql|httpd-php|javascript"
    r"|json|jsonlines|latex|ndjson|perl|python|ruby|sh|shellscript|sql|subrip|tcl|tex|toml|typescript"
    r"|www-form-urlencoded|xml|yaml)"
)
TABLES = frozenset(["text/csv", "text/tab-separated-values"])
_TABLE_ENDS = (".csv", ".tsv")  # Windows calls the type of a .csv that of Excel's own format

UTF_8 = "utf-8"  # what texts are in that tell nothing else
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
# What texts really come in: any bytes would be a text in some of the others, such as EBCDIC.
_GUESSED = [
    *(f"cp{number}" for number in (*range(1250, 1257), 437, 866, 932, 949)),
    *("big5", "euc_jp", "gb18030", "koi8_r", "mac_roman"),
]

_BINARY = re.compile(r"[\0-\7\x0e-\x1a\x1c-\x1f]")
_VISIBLE = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
    | {0x7F: 0x2421}
    # Further controls, and what makes a text look as if its order were another.
    | {code: f"[U+{code:04X}]" for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F))}
    | {code: f"[U+{code:04X}]" for code in range(0x2066, 0x206A)}
)


def preview(file: File) -> SafeString:
    """Return HTML that shows the beginning of the content, or says why it does not.

    It needs the styles `files/preview.css`.
    """
    try:
        shown = _context(file)
    except FileNotFoundError:
        file.mark_missing(True)
        shown = {"notice": _("The object is missing from the bucket.")}
    except ArchivedError as error:
        shown = {"notice": reason(error)}
    except OSError as error:
        logger.warning("File %s (%r): %s", file.pk, str(file), error)
        shown = {"notice": _("The content cannot be read: %s") % reason(error)}
    label = _("Content of %s") % delivery.file_name(file.name)
    return render_to_string("files/preview.html", {"file": file, "label": label, **shown})


def _context(file: File) -> dict[str, Any]:
    """Return what the template shows. Raises what a read of S3 raises."""
    kind = delivery.content_type(file).partition(";")[0].lower()
    if kind in delivery.INLINE and kind != "text/plain":
        return _embed(file, kind)
    is_text = _is_table(file, kind) or TEXT.fullmatch(kind) is not None
    may_be_text = is_text or _is_unknown(kind)
    content = _fetch(file, LIMIT if may_be_text else DUMPED)
    file.mark_missing(False)
    if not content.data:
        return _empty()
    decoded = _decode(content, is_text) if may_be_text else None
    if decoded:
        return _as_text(file, kind, content, *decoded)
    bytes_alone = _("Shown as bytes, since it is no text that can be read.")
    return {"details": [bytes_alone, *content.limits(DUMPED)], "dump": _dump(content.data[:DUMPED])}


def _as_text(
    file: File, kind: str, content: "_Content", text: str, encoding: str
) -> dict[str, Any]:
    told = [] if encoding == UTF_8 else [_("Encoding: %s") % encoding]
    details = [*told, *content.limits(LIMIT)]
    if _is_table(file, kind):
        rows = _rows(text, _delimiter(file, kind, text), content.is_cut)
        if rows:
            return _table(rows, details)
    return {"details": details, "text": text}


def _embed(file: File, kind: str) -> dict[str, Any]:
    if file.missing_at:  # it may be back
        file.storage.request("HEAD", str(file)).close()
        file.mark_missing(False)
    if file.size == 0:
        return _empty()
    file.storage.refuse_archived(str(file), file.storage_class)
    return {"element": kind.partition("/")[0]}


def _empty() -> dict[str, Any]:
    return {"notice": _("The file is empty.")}


def _is_table(file: File, kind: str) -> bool:
    return kind in TABLES or str(file).lower().endswith(_TABLE_ENDS)


def _is_unknown(kind: str) -> bool:
    return kind == "application/octet-stream" or mimetypes.guess_extension(kind) is None


class _Content(NamedTuple):
    """The first bytes of an object, and its size."""

    data: bytes
    size: int

    @property
    def is_cut(self) -> bool:
        return len(self.data) < self.size

    def limits(self, shown: int) -> list[str]:
        """Return what to say when no more than `shown` bytes are shown."""
        if self.size <= shown:
            return []
        sizes = {"part": filesizeformat(shown), "size": filesizeformat(self.size)}
        return [_("The first %(part)s of %(size)s") % sizes]


def _fetch(file: File, limit: int) -> _Content:
    wanted = {"Range": f"bytes=0-{limit - 1}"}
    answer = file.storage.request("GET", str(file), wanted)
    if answer.status == 416:  # an empty object has no range; RFC 9110 section 15.5.17
        answer.close()
        return _Content(b"", 0)
    data = b""
    with closing(file.storage.body(str(file), answer)) as body:
        while len(data) < limit and (piece := body.read(limit - len(data))):
            data += piece
    audit.record("preview", file=file.pk, key=str(file), bytes=len(data))
    return _Content(data, body.size)


# Texts


def _decode(content: _Content, is_text: bool) -> tuple[str, str] | None:
    """Return the text with its controls made visible, and its encoding; None for what is no text.

    `is_text` says that it is called one, so that it may have controls where its encoding is sure.
    """
    marked = (encoding for mark, encoding in _MARKS if content.data.startswith(mark))
    encoding = label = next(marked, UTF_8)
    try:
        text = _decoded(content, encoding, "strict")
    except UnicodeDecodeError:
        encoding, is_text = _guess(content), False
        if not encoding:
            return None
        text = _decoded(content, encoding, "replace")
        label = _("%s (guessed)") % codecs.lookup(encoding).name
    if not is_text and _BINARY.search(text):
        return None
    return text.translate(_VISIBLE), label


def _decoded(content: _Content, encoding: str, errors: str) -> str:
    """Decode all but a last character that is cut."""
    return codecs.getincrementaldecoder(encoding)(errors).decode(content.data, not content.is_cut)


def _guess(content: _Content) -> str:
    """Return the name of an encoding, empty for what seems to be no text."""
    from charset_normalizer import from_bytes  # 30 ms, that few texts need

    lenient = content.data.decode("utf-8", "replace")
    broken = lenient.count("\ufffd")
    if sum(not character.isascii() for character in lenient) > 2 * broken:
        return "utf-8"
    whole_lines = content.data[: content.data.rfind(b"\n") + 1] if content.is_cut else b""
    matches = from_bytes(whole_lines or content.data, cp_isolation=_GUESSED)
    best = matches.best()
    if not best:
        return ""
    tied = [
        match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)
    ]
    names = {name for match in tied for name in match.could_be_from_charset}
    return "cp1252" if "cp1252" in names else best.encoding


# Tables


def _delimiter(file: File, kind: str, text: str) -> str:
    if kind == "text/tab-separated-values" or str(file).lower().endswith(".tsv"):
        return "\t"
    try:
        return csv.Sniffer().sniff(text[:SNIFFED], ",;\t|").delimiter
    except csv.Error:
        return ","


def _rows(text: str, delimiter: str, is_cut: bool) -> list[list[str]]:
    """Return the header, the rows, and one row more where there is one."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = list(islice(filter(None, lines), 1 + ROWS + 1))
    whole = len(rows) == 1 + ROWS + 1
    return rows[:-1] if is_cut and not whole else rows


def _table(rows: list[list[str]], details: list[str]) -> dict[str, Any]:
    header, *rest = rows
    if len(rest) > ROWS:
        details.append(_("The first %d rows") % ROWS)
    width = max(map(len, rows))
    if width > COLUMNS:
        counts = {"part": COLUMNS, "all": number_format(width, force_grouping=True)}
        details.append(_("The first %(part)s of %(all)s columns") % counts)
    shown = [row[:COLUMNS] for row in rest[:ROWS]]
    return {"details": details, "header": header[:COLUMNS], "rows": shown}


# All else


def _dump(data: bytes) -> str:
    """Return lines as of `hexdump -C`: offset, 16 bytes, and those that are printable ASCII."""
    return "\n".join(
        _dump_line(start, data[start : start + 16]) for start in range(0, len(data), 16)
    )


def _dump_line(start: int, data: bytes) -> str:
    halves = f"{data[:8].hex(' '):<23}  {data[8:].hex(' '):<23}"
    readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{start:08x}  {halves}  |{readable}|"
