"""The preview: what is shown of each kind of content, what it costs, and S3 that fails."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from files.admin import preview as module
from files.admin.preview import COLUMNS, LIMIT, ROWS, preview
from files.models import File

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2


@pytest.fixture
def show(make_file):
    """Return what makes a file and previews it."""

    def show(key, data, content_type=None):
        parameters = {"ContentType": content_type} if content_type else {}
        return preview(make_file(key, data, **parameters))

    return show


def text_of(html):
    """Return the text that a browser shows: it drops a line end after `<pre>`."""
    return unescape(re.search(r"<pre>\n(.*)</pre>", html, re.DOTALL)[1])


def details(html):
    found = re.search(r'<p class="file-preview-details">(.*?)</p>', html)
    return unescape(found[1]).split(" · ") if found else []


def told_encoding(html):
    """Return what is said of the encoding: where that is nothing, it is UTF-8."""
    said = [text for text in details(html) if text.startswith("Encoding: ")] or ["utf-8"]
    return said[0].removeprefix("Encoding: ")


def notice(html):
    assert "file-preview-details" not in html
    return unescape(re.search(r'<p class="file-preview-notice">(.*?)</p>', html)[1])


def table_of(html):
    """Return the cells of the header, and of each row."""
    header, body = re.search(r"<thead>(.*)</thead>\s*<tbody>(.*)</tbody>", html, re.DOTALL).groups()
    return cells("th", header), [
        cells("td", row) for row in re.findall(r"<tr>.*?</tr>", body, re.S)
    ]


def cells(tag, html):
    return [unescape(cell) for cell in re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, re.DOTALL)]


# Texts


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.js", "text/javascript"),
        ("a.yaml", "application/x-yaml"),
        ("a", "application/ld+json"),
        ("page.html", "text/html"),
        ("image.svg", "image/svg+xml"),
        ("page.xhtml", "application/xhtml+xml"),
        ("a.png", "TEXT/HTML; charset=utf-8"),
        ("log", "binary/octet-stream"),
        ("log", "application/octet-stream"),
        ("log", "application/x-unknown"),
        ("log", "not a type at all"),
    ],
)
def test_a_text_is_shown_and_never_run(show, key, content_type):
    source = "\n<svg onload=\"alert(1)\"><script>alert('2')</script>&amp;</pre>\n"
    html = show(key, source.encode(), content_type)
    assert text_of(html) == source
    assert details(html) == []
    assert not re.search(r"<(script|svg)|onload=\"", html)


def test_a_large_text_costs_one_request_for_its_beginning(make_file, proxy):
    file = make_file("log", b"line\n" * 2**20, ContentType="text/plain")
    proxy.requests.clear()
    html = preview(file)
    assert text_of(html) == ("line\n" * 2**20)[:LIMIT]
    assert details(html) == ["The first 64.0\xa0KB of 5.0\xa0MB"]
    ((method, headers),) = proxy.requests
    assert (method, headers["Range"]) == ("GET", "bytes=0-65535")


def test_the_connection_is_used_again(make_file, storage):
    file = make_file("log", bytes(2 * LIMIT), ContentType="text/plain")
    preview(file)
    made = storage.objects._http.num_connections
    for _ in range(3):
        preview(file)
    assert storage.objects._http.num_connections == made


def test_no_more_is_read_where_the_range_is_ignored(make_file, monkeypatch):
    file = make_file("log", b"x" * 3 * LIMIT, ContentType="text/plain")
    request = file.storage.request
    monkeypatch.setattr(file.storage, "request", lambda method, key, headers: request(method, key))
    assert text_of(preview(file)) == "x" * LIMIT


@pytest.mark.parametrize("fault", [("reset", 10), ("short", 1000), ("status", 503)])
def test_a_body_that_breaks_is_continued(make_file, proxy, fault):
    file = make_file("log", b"0123456789" * 10_000, ContentType="text/plain")
    proxy.faults[:] = [fault]
    assert text_of(preview(file)) == ("0123456789" * 10_000)[:LIMIT]


def test_controls_are_visible(show):
    html = show("a.txt", b"NUL\0 BEL\7 ESC\x1b DEL\x7f\ttab\r\n", "text/plain")
    assert text_of(html) == "NUL␀ BEL␇ ESC␛ DEL␡\ttab\r\n"
    html = show("b.txt", "\u202etxt.exe\u2066 \x85".encode(), "text/plain")
    assert text_of(html) == "[U+202E]txt.exe[U+2066] [U+0085]"


GERMAN = "Grüße aus Köln: „schöne“ Äpfel, 20 €.\n"
FRENCH = "Voilà: les élèves étaient très contents à la fête, où ça ?\n"
RUSSIAN = "Привет, мир! Это русский текст в старой кодировке.\n"
JAPANESE = "これは日本語のテキストです。文字コードを推測します。\n"
POLISH = "Zażółć gęślą jaźń. Wczoraj byłem w sklepie i kupiłem chleb.\n"


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        (GERMAN, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8-sig"),
        (JAPANESE, "utf-16-le", "utf-16"),
        (JAPANESE, "utf-16-be", "utf-16"),
        (JAPANESE, "utf-32-le", "utf-32"),
        (JAPANESE, "utf-32-be", "utf-32"),
        (GERMAN, "cp1252", "cp1252 (guessed)"),
        (FRENCH, "cp1252", "cp1252 (guessed)"),
        (POLISH, "cp1250", "cp1250 (guessed)"),
        (RUSSIAN, "koi8-r", "koi8-r (guessed)"),
        (RUSSIAN, "cp1251", "cp1251 (guessed)"),
        (JAPANESE, "shift-jis", "cp932 (guessed)"),
        (JAPANESE, "euc-jp", "euc_jp (guessed)"),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", None])
@pytest.mark.parametrize("times", [1, 3000])
def test_the_encoding_is_found(show, text, encoding, shown, content_type, times):
    mark = "\ufeff" if shown.startswith(("utf-16", "utf-32")) else ""
    data = (mark + text * times).encode(encoding)
    html = show("a", data, content_type)
    assert told_encoding(html) == shown
    found = text_of(html)
    assert (text * times).startswith(found)
    assert len((mark + found).encode(encoding)) > min(len(data), LIMIT) - 4


def test_a_word_is_taken_for_western(show):
    assert text_of(show("a.txt", "café".encode("cp1252"), "text/plain")) == "café"


@pytest.mark.parametrize("character", ["ü", "€", "😀"])
@pytest.mark.parametrize("before", range(4))
def test_a_character_that_the_limit_cuts_is_left_out(show, character, before):
    text = "x" * before + character * LIMIT
    html = show("a.txt", text.encode(), "text/plain")
    assert told_encoding(html) == "utf-8"
    assert text_of(html) == text.encode()[:LIMIT].decode(errors="ignore")


@pytest.mark.parametrize("before", ["", "x"])
@pytest.mark.parametrize("encoding", ["shift-jis", "euc-jp"])
def test_a_cut_character_does_not_spoil_the_guess(show, encoding, before):
    text = before + JAPANESE * 3000
    shown = text_of(show("a.txt", text.encode(encoding), "text/plain"))
    assert shown == text.encode(encoding)[:LIMIT].decode(encoding, "ignore")


def test_a_few_broken_bytes_do_not_make_it_another_encoding(show):
    html = show("log", (GERMAN * 3).encode() + b"\xff\n", "text/plain")
    assert told_encoding(html) == "utf-8 (guessed)"
    assert text_of(html) == GERMAN * 3 + "\ufffd\n"


# Tables


@pytest.mark.parametrize(
    ("key", "content_type", "text"),
    [
        ("a", "text/csv", 'name,"of, what"\nx,"say ""hi"""\ny,"two\nlines"\n'),
        ("a.csv", None, 'name;"of, what"\r\nx;"say ""hi"""\r\ny;"two\nlines"'),
        (
            "A.CSV",
            "application/vnd.ms-excel",
            'name|"of, what"\nx|"say ""hi"""\n\ny|"two\nlines"\n',
        ),
        ("a", "text/tab-separated-values", 'name\tof, what\nx\t"say ""hi"""\ny\t"two\nlines"\n'),
        ("a.tsv", None, 'name\tof, what\nx\t"say ""hi"""\ny\t"two\nlines"\n'),
    ],
)
def test_a_table_has_a_header_and_rows(show, key, content_type, text):
    html = show(key, text.encode(), content_type)
    assert table_of(html) == (["name", "of, what"], [["x", 'say "hi"'], ["y", "two\nlines"]])
    assert '<th scope="col">name</th>' in html
    assert details(html) == []


def test_cells_are_escaped(show):
    html = show("a.csv", b"<script>a</script>,b\n<script>1</script>,&lt;\n")
    assert "<script" not in html
    assert table_of(html) == (["<script>a</script>", "b"], [["<script>1</script>", "&lt;"]])


def test_a_table_is_shown_in_part(show):
    row = ",".join(str(number) for number in range(COLUMNS + 10))
    header, rows = table_of(html := show("a.csv", f"{row}\n".encode() * (ROWS + 2)))
    assert details(html) == ["The first 100 rows", "The first 50 of 60 columns"]
    assert header == [str(number) for number in range(COLUMNS)]
    assert rows == [header] * ROWS


def test_a_whole_table_of_the_largest_size_says_nothing(show):
    html = show("a.csv", b"a,b\n" * (1 + ROWS))
    assert len(table_of(html)[1]) == ROWS
    assert details(html) == []


def test_a_row_that_the_limit_cuts_is_left_out(show):
    line = "a" * 1000 + "," + "b" * 1000 + "\n"
    html = show("a.csv", line.encode() * 100)
    assert details(html) == ["The first 64.0\xa0KB of 195.5\xa0KB"]
    header, rows = table_of(html)
    assert len(rows) == LIMIT // len(line) - 1
    assert {tuple(row) for row in rows} == {tuple(header)} == {("a" * 1000, "b" * 1000)}


def test_a_table_in_another_encoding(show):
    html = show("a.csv", "Größe;Wert\nfünf;1,5\nzwölf;2,5\n".encode("cp1252"))
    assert table_of(html) == (["Größe", "Wert"], [["fünf", "1,5"], ["zwölf", "2,5"]])


def test_broken_tables_are_shown_as_they_are(show):
    html = show("open.csv", b'a,b\n1,"2\n3,4\n')
    assert table_of(html) == (["a", "b"], [["1", "2\n3,4\n"]])
    html = show("ragged.csv", b"a,b\n1\n1,2,3\n")
    assert table_of(html) == (["a", "b"], [["1"], ["1", "2", "3"]])
    html = show("one.csv", b"a\nb\n")
    assert table_of(html) == (["a"], [["b"]])
    assert text_of(show("long.csv", b"x" * 2 * LIMIT)) == "x" * LIMIT
    assert text_of(show("blank.csv", b"\n\n")) == "\n\n"
    assert "|.PNG" in text_of(show("not.csv", PNG))


# What a browser shows


@pytest.mark.parametrize(
    ("content_type", "element"),
    [
        ("image/png", '<img src="{0}" alt="Content of a &lt;b&gt;">'),
        (
            "audio/mpeg",
            '<audio src="{0}" aria-label="Content of a &lt;b&gt;" controls preload="metadata">',
        ),
        (
            "video/mp4",
            '<video src="{0}" aria-label="Content of a &lt;b&gt;" controls preload="metadata">',
        ),
        ("application/pdf", '<iframe src="{0}" title="Content of a &lt;b&gt;">'),
    ],
)
def test_media_are_left_to_the_browser(make_file, proxy, content_type, element):
    file = make_file("folder/a <b>", PNG, ContentType=content_type)
    proxy.requests.clear()
    html = preview(file)
    assert element.format(file.get_absolute_url()) in html
    assert proxy.requests == []


def test_a_frame_may_show_the_content_on_our_own_pages_alone(make_file, viewer):
    file = make_file("a.pdf", b"%PDF-1.7", ContentType="application/pdf")
    response = viewer.get(file.get_absolute_url())
    assert b"".join(response) == b"%PDF-1.7"
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert viewer.get("/login/").headers["X-Frame-Options"] == "DENY"


# All else

HEX = """\
00000000  89 50 4e 47 0d 0a 1a 0a  00 01 02 03 04 05 06 07  |.PNG............|
00000010  08 09 0a 0b 0c 0d 0e 0f  10 11 12 13 14 15 16 17  |................|
00000020  18 19 1a 1b 1c 1d 1e 1f  20 21 22 23 24 25 26 27  |........ !"#$%&'|
"""


@pytest.mark.parametrize(
    ("content_type", "fetched"),
    [
        ("image/tiff", 255),
        ("application/zip", 255),
        ("application/octet-stream", LIMIT - 1),
        ("text/plain", LIMIT - 1),
    ],
)
def test_what_is_no_text_is_dumped(make_file, proxy, content_type, fetched):
    file = make_file("a", PNG * 200, ContentType=content_type)
    proxy.requests.clear()
    html = preview(file)
    assert details(html) == [
        "Shown as bytes, since it is no text that can be read.",
        "The first 256\xa0bytes of 101.6\xa0KB",
    ]
    assert text_of(html).startswith(HEX)
    assert text_of(html).splitlines()[-1].startswith("000000f0  e8 e9 ea eb ec ed ee ef  f0")
    assert [headers["Range"] for method, headers in proxy.requests] == [f"bytes=0-{fetched}"]


@pytest.mark.parametrize("data", [b"\0\1\2 UTF-8", "GRÜẞE\0".encode("utf-16")])
def test_controls_make_it_no_text_unless_it_is_called_one(show, data):
    assert text_of(show("a", data)).startswith("00000000  ")
    assert "␀" in text_of(show("a.txt", data, "text/plain"))


def test_the_last_line_of_a_dump_is_padded(show):
    html = show("a", b"\0<b>&~\x7f\x80 ", "application/zip")
    expected = "00000000  00 3c 62 3e 26 7e 7f 80  20" + " " * 23 + "|.<b>&~.. |"
    assert text_of(html) == expected
    assert "<b>" not in html


def test_a_text_that_is_called_a_zip_is_dumped(show):
    assert "|texttexttexttext|" in text_of(show("a.zip", b"text" * 64, "application/zip"))


# Nothing to show


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "application/zip", "text/csv"])
def test_an_empty_object_is_said_to_be_empty(show, content_type):
    assert notice(show("a", b"", content_type)) == "The file is empty."


def test_a_missing_object_is_said_to_be_missing_and_marked(make_file, storage):
    file = make_file("a.txt")
    storage.delete("a.txt")
    assert notice(preview(file)) == "The object is missing from the bucket."
    assert File.objects.get().missing_at


@pytest.mark.parametrize("content_type", ["text/plain", "image/png"])
def test_a_file_that_is_marked_may_be_back(make_file, put, storage, content_type):
    file = make_file("a", b"text", ContentType=content_type)
    file.mark_missing(True)
    storage.delete("a")
    assert notice(preview(file)) == "The object is missing from the bucket."
    put("a", b"text", ContentType=content_type)
    assert "file-preview-notice" not in preview(file)
    assert File.objects.get().missing_at is None


def test_s3_out_of_reach_is_one_sentence(make_file, unreachable):
    file = make_file("a.txt")
    unreachable()
    text = "The content cannot be read: S3 is out of reach; try again in a moment."
    assert notice(preview(file)) == text
    assert File.objects.get().missing_at is None


def test_a_refusal_is_one_sentence(make_file, proxy):
    file = make_file("a.txt")
    proxy.faults[:] = [("status", 403)]
    assert notice(preview(file)).startswith("The content cannot be read: S3 refuses the object")


def test_an_object_that_is_replaced_meanwhile_is_one_sentence(make_file, proxy, put):
    file = make_file("a.txt", b"x" * 1000)
    proxy.faults[:] = [("call", 10)]
    proxy.on_call = lambda: put("a.txt", b"other")
    text = "The content cannot be read: The object changed while it was being read."
    assert notice(preview(file)) == text


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    data=st.one_of(
        st.binary(min_size=1),
        st.text("abü\"';,\t|\n\r\0", min_size=1).map(str.encode),
        st.text(min_size=1).map(lambda text: text.encode("utf-16", "surrogatepass")),
    ),
    more=st.integers(0, 1),
    key=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a"]),
)
def test_any_bytes_are_shown_somehow(data, more, key):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_fetch", lambda file, limit: module._Content(data, len(data) + more))
        html = preview(File(object_key=key, content_type="", original_key=""))
    assert "file-preview-box" in html
    assert not re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", html)
