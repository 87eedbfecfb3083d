"""What a key is: its folder, its name, and how it is shown."""

import pytest

from files.keys import brief, folder_of, folders_to, name_of, shown, visible


def test_folders_lead_from_the_top():
    assert folders_to("") == []
    assert folders_to("/a//b/") == ["/", "/a/", "/a//", "/a//b/"]


def test_folder_and_name_are_the_key():
    found = [(folder_of(key), name_of(key)) for key in ("a", "a/b", "/a", "a//", "a/b/")]
    assert found == [("", "a"), ("a/", "b"), ("/", "a"), ("a//", ""), ("a/b/", "")]


def test_a_line_for_scripts_keeps_spaces():
    assert shown(" a  b\n/\u202e\udcff ") == " a  b␊/[U+202E]\\udcff "


def test_control_characters_are_shown_as_pictures():
    assert visible("a\tb\x7f\n") == "a␉b␡␊"


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        ("odd/\u202egpj.exe", "odd/[U+202E]gpj.exe"),
        ("a\u200bb\u00adc\ufeff", "a[U+200B]b[U+00AD]c[U+FEFF]"),
        ("\u2066\u2069\x85\u2028", "[U+2066][U+2069][U+0085][U+2028]"),
        ("\U000e0041\u3164\ufe0f", "[U+E0041][U+3164][U+FE0F]"),
        ("at 5\u202fPM\u00a0", "at 5[U+202F]PM[U+00A0]"),
        ("全角\u3000の名.txt", "全角\u3000の名.txt"),
        ("a b/c d", "a b/c d"),
        (" a/ b /c  d ", "␣a/␣b␣/c␣␣d␣"),
        ("  ", "␣␣"),
        ("全\u3000角\u3000/\u3000\u3000", "全\u3000角[U+3000]/[U+3000][U+3000]"),
        ("Grüße/😀.txt", "Grüße/😀.txt"),
    ],
)
def test_what_nobody_would_see_is_shown(key, seen):
    assert visible(key) == seen


@pytest.mark.parametrize(("length", "seen"), [(80, "a" * 80), (81, f"{'a' * 40}…{'a' * 40}")])
def test_a_line_has_the_beginning_and_the_end_of_a_long_key(length, seen):
    assert brief("a" * length) == seen


def test_a_line_shows_what_nobody_would_see():
    assert brief("a\n") == "a␊"
