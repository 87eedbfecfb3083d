"""README.md names what there is."""

import inspect
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
OTHERS = {"procrastinate"}  # of packages, with options of their own


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_in_the_readme(name):
    assert f"`{name}`" in README


def test_the_table_of_commands_names_those_that_there_are():
    assert sorted(name for name, _ in TABLE) == sorted({*COMMANDS, *OTHERS})


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_of_commands_names_the_options_of_each(name):
    own = options(load_command_class(COMMANDS[name], name)) - options(BaseCommand())
    assert set(re.findall(r"--[a-z-]+", dict(TABLE)[name])) == own


def options(command):
    parser = command.create_parser("manage.py", "")
    return {text for action in parser._actions for text in action.option_strings}


def test_the_example_of_a_test_passes_as_it_stands(request, db):
    (text,) = re.findall(r"```python\n(def test_.*?)```", README, re.DOTALL)
    found = {}
    exec(text, found)  # noqa: S102
    (test,) = [value for name, value in found.items() if name.startswith("test_")]
    test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})


def test_the_table_of_fixtures_names_fixtures(pytestconfig):
    section = README.split("\n### Write a test\n")[1].split("\n## ")[0]
    column = "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))
    named = [*re.findall(r"`(\w+)`", column), "unfinished_uploads"]
    plugins = pytestconfig.pluginmanager.get_plugins()
    assert [name for name in named if not any(hasattr(plugin, name) for plugin in plugins)] == []
    assert len(named) > 10
