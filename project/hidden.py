"""Strings that must not be seen."""


class Hidden(str):
    """A string whose repr does not show it: `diffsettings`, tracebacks and logs print reprs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"
