"""Texts for people: gettext has all of them, and as they stand in the source."""

import ast
import re

from tests.processes import ROOT

SOURCES = [
    path for folder in ("files", "project") for path in sorted((ROOT / folder).rglob("*.py"))
]
OWN = re.compile(r"^(_|n?gettext(_lazy|_noop)?)$")
# What shows its text to people, and which of its arguments that is.
TELLING = {"ValidationError": 0, "message_user": 1, "problem": 1, "refusal": 2, "tell": 0}
# For those who run commands, in English as all of these.
COMMANDS = {"files/catalogue", "files/management", "files/storage/probe", "project/sandbox"}


def calls():
    """Yield where a call stands, the name of what it calls, and its arguments."""
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if not any(name.startswith(folder) for folder in COMMANDS):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    yield f"{name}:{node.lineno}", called, node.args


def test_gettext_gets_texts_as_they_are():
    wrong = [
        place
        for place, called, arguments in calls()
        if OWN.match(called) and not isinstance(arguments[0], ast.Constant | ast.Name)
    ]
    assert wrong == []


def test_what_people_read_goes_through_gettext():
    wrong = [
        place
        for place, called, arguments in calls()
        if isinstance(text := text_of(called, arguments), ast.JoinedStr)
        or (isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value)
    ]
    assert wrong == []


def text_of(called, arguments):
    """Return the argument of a call that people read, if there is one.

    Of a service that is out of reach they read another text.
    """
    is_error = called.endswith("Error") and not called.endswith("UnavailableError")
    is_of_system = is_error and arguments and "errno" in ast.dump(arguments[0])
    index = 1 if is_of_system else TELLING.get(called, len(arguments))
    return arguments[index] if index < len(arguments) else None
