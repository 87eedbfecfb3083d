"""The hooks of a commit and the checks of CI are the same."""

import re

from tests.processes import ROOT

HOOKS = {
    entry.removesuffix(" --output-file requirements.txt")  # CI compares what is printed
    for entry in re.findall(
        r"^ *entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"), re.MULTILINE
    )
}
CHECKS = {
    line.removesuffix(" |")
    for line in re.findall(
        r"^ *((?:uvx?|npx) (?!sync |run pytest |run python -m benchmarks ).*)",
        (ROOT / ".ci" / "run").read_text("utf-8"),
        re.MULTILINE,
    )
}


def test_every_hook_is_checked_by_ci_too():
    assert HOOKS
    assert set() == HOOKS - CHECKS


def test_every_check_of_ci_but_that_of_the_javascript_is_a_hook():
    others = {re.sub(r"@[\d.]+ .*", "", check) for check in CHECKS - HOOKS}
    assert others == {"npx --yes @biomejs/biome"}


def test_requirements_name_no_host():
    assert "//" not in (ROOT / "requirements.txt").read_text("utf-8")
