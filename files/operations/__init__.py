"""What changes a row and its object together.

One rule holds for all of it: first a committed row that says what is about to happen, then the
bytes, then the row that says that it happened. Bytes are destroyed last, only after the database
has agreed, and only those that the row names by their ETag. What is under way is an `Operation`.
What stops in between leaves it, and the next attempt on that key or the next sweep ends it.

A key is locked for the time by an advisory lock of PostgreSQL: of the session, or inside the
caller's transaction of that. The transaction around a TestCase is no caller's.
"""

from files.operations.changes import (
    begin_upload,
    creating,
    delete,
    finish_upload,
    rename,
    replace,
    restore,
    trash,
)
from files.operations.interrupted import (
    end,
    interrupted,
    is_left_over,
    named,
    on_keys,
    open_uploads,
)
from files.operations.locking import ConflictError, conflict, in_callers_transaction, locked
from files.operations.operation import LATE, Operation
from files.operations.purging import purge
from files.operations.sides import columns

__all__ = [
    "LATE",
    "ConflictError",
    "Operation",
    "begin_upload",
    "columns",
    "conflict",
    "creating",
    "delete",
    "end",
    "finish_upload",
    "in_callers_transaction",
    "interrupted",
    "is_left_over",
    "locked",
    "named",
    "on_keys",
    "open_uploads",
    "purge",
    "rename",
    "replace",
    "restore",
    "trash",
]
