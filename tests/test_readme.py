"""README.md names what there is."""

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "project" / "settings.py").read_text("utf-8")
VARIABLES = sorted(set(re.findall(r'"(APP_[A-Z_]*[A-Z])"(?!: True)', SETTINGS)))
COMMANDS = [
    path.stem
    for path in (ROOT / "files" / "management" / "commands").glob("*.py")
    if path.stem != "__init__"
]


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r'"(APP_[A-Z_]*[A-Z])"(?!: True)', SETTINGS)))
)
def test_every_variable_is_in_the_readme(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name):
    assert f"manage.py {name}" in README
