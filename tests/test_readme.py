"""README.md names what there is."""

import re

import pytest
from django.core.management import BaseCommand, get_commands, load_command_class

from tests.processes import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "project" / "settings.py").read_text("utf-8")
VARIABLES = sorted(set(re.findall(r'"(APP_[A-Z_]*[A-Z])"(?!: True)', SETTINGS)))
COMMANDS = {  # with their apps
    name: app for name, app in get_commands().items() if app.split(".")[0] in {"files", "project"}
}
SECTION = README.split("\n## Commands\n")[1].split("\n## ")[0]
TABLE = re.findall(r"^\| `manage\.py (\w+)(.*) \|$", SECTION, re.MULTILINE)


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_in_the_readme(name):
    assert f"`{name}`" in README


def test_the_table_of_commands_names_those_that_there_are():
    assert sorted(name for name, _ in TABLE) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_of_commands_names_the_options_of_each(name):
    own = options(load_command_class(COMMANDS[name], name)) - options(BaseCommand())
    assert set(re.findall(r"--[a-z-]+", dict(TABLE)[name])) == own


def options(command):
    parser = command.create_parser("manage.py", "")
    return {text for action in parser._actions for text in action.option_strings}
