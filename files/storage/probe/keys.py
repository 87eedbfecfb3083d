"""Keys: whether each is an object of its own, and how they are listed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from files.keys import MAX_KEY_LENGTH
from files.storage.listing import Page
from files.storage.probe.ground import Ground
from files.storage.probe.promises import promise

# Odd parts of keys, each with a key that has it and the one that a server may take it for.
ODD = {
    "//": ("a//b", "a/b"),
    "./": ("./c", "c"),
    "../": ("d/../e", "e"),
    "\\": ("f\\g", "f/g"),
    "a trailing slash": ("h/", "h"),
    "control characters": ("i\x01\x7f", "i"),
    "a line feed": ("j\nk", "j k"),
    "spaces": (" l  m ", "l m"),
    "+": ("n+o", "n o"),
    "%41": ("%41", "A"),
    "?": ("p?q#r", "p"),
    "&": ("s&amp;<t>", "s&<t>"),
    "capitals": ("U", "u"),
    "non-ASCII": ("\u00fc", "u\u0308"),  # one letter, in both of Unicode's forms
    "an emoji": ("v\U0001f600", "v"),
}
ORDERED = ["Z", "a!", "a-b", "a.b", "a/b", "a/c", "a0", "é", "\uff5e", "\U0001f600"]
PAGED = ["\x01", "%41", "a b", "a+b", "c-d", "c/d", "e", "é", "\uff5e", "\U0001f600"]


@promise("exact keys", "each key is an object of its own, byte for byte")
def exact_keys(ground: Ground) -> Iterator[str]:
    found = defaultdict(list)
    for label, odd, twin in _odd_keys(ground.folder, ground.place(ground.folder)["Key"]):
        if verdict := _judge(ground, odd, twin):
            found[verdict].append(label)
    if _is_bucket(ground):
        found["taken for the bucket"].append("the key /")
    for verdict, labels in found.items():
        yield f"{', '.join(labels)}: {verdict}"


def _odd_keys(folder: str, full_folder: str) -> Iterator[tuple[str, str, str]]:
    for number, (label, (odd, twin)) in enumerate(ODD.items()):
        yield label, f"{folder}{number}/{odd}", f"{folder}{number}/{twin}"
    yield "a leading slash", f"/{folder}w", f"{folder}w"
    longest = folder + "x" * (MAX_KEY_LENGTH - len(full_folder.encode()))
    yield "1,024 bytes", longest, longest[:-1]


def _judge(ground: Ground, odd: str, twin: str) -> str:
    """Return what happens to the odd key, empty where it is kept exactly."""
    ground.put(twin, b"twin")
    if ground.put(odd, b"odd").status != 200:
        return "refused"
    if _content(ground, twin) == b"odd":
        return "folded"
    if _content(ground, odd) != b"odd":
        return "lost"
    if odd not in _listed(ground, odd):
        return "not listed"
    return ""


def _content(ground: Ground, key: str) -> bytes:
    try:
        return ground.read(key)[1]
    except OSError:
        return b""


def _listed(ground: Ground, prefix: str) -> list[str]:
    try:
        return [key for key, _stat in ground.storage.list(prefix)]
    except PermissionError:
        raise
    except OSError:  # a listing that is no XML
        return []


def _is_bucket(ground: Ground) -> bool:
    """Return whether a request for the key `/` is answered by a listing or an error of that."""
    try:
        ground.storage.find("/")
    except PermissionError:
        raise
    except OSError:
        return True
    return False


@promise("order of listings", "keys are listed by their bytes in UTF-8")
def order_of_listings(ground: Ground) -> Iterator[str]:
    keys = _write(ground, "ordered/", ORDERED)
    found = _listed(ground, f"{ground.folder}ordered/")
    if sorted(found) != sorted(keys):
        yield f"{_names(set(keys) - set(found))} lost"
    elif found != keys:
        first = next(key for key, wanted in zip(found, keys, strict=True) if key != wanted)
        yield f"{_names([first])} comes at another place"


@promise("pages of listings", "each key is listed once, on whatever page, and after any other")
def pages_of_listings(ground: Ground) -> Iterator[str]:
    keys, prefix = _write(ground, "paged/", PAGED), f"{ground.folder}paged/"
    found = _keys_of(ground.storage.pages(prefix, limit=3))
    if sorted(found) != sorted(keys):
        yield f"{_names(set(keys) - set(found)) or 'no key'} lost between pages of three"
    skipped = [
        key
        for number, key in enumerate(keys)
        if sorted(_keys_after(ground, prefix, key)) != sorted(keys[number + 1 :])
    ]
    if skipped:
        yield f"StartAfter is wrong behind {_names(skipped)}"


@promise(
    "pages of uploads",
    "each open upload is listed once, on whatever page",
    "more than 1,000 open uploads of one key are left to the bucket's lifecycle rules",
)
def pages_of_uploads(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}a + %2B ü"
    begun = sorted(ground.upload(key) for _ in range(3))
    listed = ground.storage._uploads(key, MaxUploads=1)
    found = sorted(upload_id for _name, upload_id, _begun in islice(listed, 2 * len(begun)))
    if found != begun:
        yield f"{len(found)} are listed in place of {len(begun)}"


def _write(ground: Ground, folder: str, names: Sequence[str]) -> list[str]:
    """Put an object of each name; return their keys in order."""
    keys = [f"{ground.folder}{folder}{name}" for name in names]
    for key in keys:
        ground.put(key)
    return sorted(keys, key=str.encode)


def _keys_after(ground: Ground, prefix: str, key: str) -> list[str]:
    return _keys_of(ground.storage.pages(prefix, after=key))


def _keys_of(pages: Iterator[Page]) -> list[str]:
    try:
        return [entry.key for page in pages for entry in page.entries]
    except PermissionError:
        raise
    except OSError:
        return []


def _names(keys: "Sequence[str] | set[str]") -> str:
    """Return the keys without their folders, quoted; no more than three."""
    names = sorted(ascii(key.split("/", 3)[-1]) for key in keys)
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
