"""What a key is: its folder, its name, and how it is shown."""

from files.keys import folder_of, folders_to, name_of, visible


def test_folders_lead_from_the_top():
    assert folders_to("") == []
    assert folders_to("/a//b/") == ["/", "/a/", "/a//", "/a//b/"]


def test_folder_and_name_are_the_key():
    found = [(folder_of(key), name_of(key)) for key in ("a", "a/b", "/a", "a//", "a/b/")]
    assert found == [("", "a"), ("a/", "b"), ("/", "a"), ("a//", ""), ("a/b/", "")]


def test_control_characters_are_shown_as_pictures():
    assert visible("a\tb\x7f\n") == "a␉b␡␊"
