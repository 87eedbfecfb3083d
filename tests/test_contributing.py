"""The hooks of a commit and the checks of CI are the same."""

import re

from tests.conftest import ROOT


def test_every_hook_is_checked_by_ci_too():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    checked = (ROOT / ".ci" / "run").read_text("utf-8")
    commands = [
        entry.removesuffix(" --output-file requirements.txt")
        for entry in re.findall(r"entry: (.*)", hooks)
    ]
    assert commands
    assert [command for command in commands if command not in checked] == []


def test_requirements_name_no_host():
    assert "//" not in (ROOT / "requirements.txt").read_text("utf-8")
