"""Objects over HTTP: one as S3 delivers it, several as a zip."""

from files.delivery import archive
from files.delivery.content import RETRY_AFTER, respond
from files.delivery.headers import INLINE, content_type, file_name

__all__ = ["INLINE", "RETRY_AFTER", "archive", "content_type", "file_name", "respond"]
