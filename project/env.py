"""The variables of the environment, as the settings take them: an empty one is as good as none.

What cannot be read raises ImproperlyConfigured with one sentence.
"""

import os
import re

from django.core.exceptions import ImproperlyConfigured

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def has_any(*prefixes: str) -> bool:
    """Return whether a variable of such a name is set."""
    return any(name.startswith(prefixes) and value for name, value in os.environ.items())


def text(name: str, default: str = "") -> str:
    """Return the variable as it is."""
    return os.environ.get(name) or default


def flag(name: str) -> bool:
    """Return whether the variable says true; it need not be set."""
    value = text(name, "false").lower()
    if value not in {"true", "false", "1", "0", "yes", "no"}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return value in {"true", "1", "yes"}


def number(name: str, default: int | str) -> int:
    """Return a whole number that is not negative."""
    value = text(name, str(default))
    if not value.isascii() or not value.isdigit():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.")
    return int(value)


def size(name: str, default: str) -> int:
    """Return a number of bytes, which may be written with a unit."""
    value = text(name, default)
    found = re.fullmatch(r"([0-9]+) ?([KMGT]iB|)", value)
    if not found:
        raise ImproperlyConfigured(f"{name} must be a number of bytes or as 16MiB, not {value!r}.")
    return int(found[1]) * _UNITS[found[2]]


def words(name: str) -> list[str]:
    """Return what stands between commas or spaces."""
    return text(name).replace(",", " ").split()


def choice(name: str, *choices: str) -> str:
    """Return one of the choices, the first where none is set."""
    value = text(name, choices[0])
    if value not in choices:
        others = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise ImproperlyConfigured(f"{name} must be {others}, not {value!r}.")
    return value


def require(values: dict[str, str | None]) -> None:
    """Raise ImproperlyConfigured with the names of the variables that have no value."""
    missing = sorted(name for name, value in values.items() if not value)
    if missing:
        raise ImproperlyConfigured(
            f"Set {', '.join(missing)} in the environment: README.md says what for."
        )
