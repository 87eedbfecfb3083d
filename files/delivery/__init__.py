"""Objects over HTTP: one as S3 delivers it, several as a zip."""

from files.delivery import archive
from files.delivery.content import respond
from files.delivery.headers import INLINE, content_type, file_name

__all__ = ["INLINE", "archive", "content_type", "file_name", "respond"]
