"""`manage.py test`: who runs the tests."""

import sys

from django.core.management.base import BaseCommand, OutputWrapper


class Command(BaseCommand):
    """Stands in the place of Django's command, which would find no test."""

    help = "Say how the tests are run: by pytest."

    def run_from_argv(self, argv: list[str]) -> None:
        """Say so whatever is asked for, Django's own options too, and exit with status 1."""
        OutputWrapper(sys.stderr).write(
            f"{argv[0]}: the tests are pytest's: `uv run pytest` runs them all, on services that it"
            " starts, and `uv run pytest tests/test_keys.py -k WORD` a few."
        )
        sys.exit(1)
