"""S3's errors as Python's own: what a caller of the storage catches.

A missing object is FileNotFoundError, one that is there FileExistsError, a permission that lacks
PermissionError; the rest are these. All of them are OSError.
"""


class S3Error(OSError):
    """S3 refused a request for a reason that is neither the object nor a permission."""


class S3UnavailableError(S3Error):
    """S3 is out of reach, throttles, or fails; it may work later."""


class ObjectChangedError(S3Error):
    """The object was replaced or deleted while it was being read."""
