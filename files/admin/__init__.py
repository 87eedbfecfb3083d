"""The catalogue in the Django admin."""

from files.admin.files import FileAdmin

__all__ = ["FileAdmin"]
