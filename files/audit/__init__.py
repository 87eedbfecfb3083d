"""Who did what to which file, and what came of it: a line of the logger `files.audit` for each.

A line is written once the thing is done: after the commit, or at the end of the answer.
"""

from files.audit.lines import change, download, record

__all__ = ["change", "download", "record"]
