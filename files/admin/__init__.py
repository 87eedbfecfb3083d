"""The catalogue in the Django admin."""

from django.conf import settings

from files.admin.files import FileAdmin
from files.admin.tokens import TokenAdmin

if settings.JOBS:
    from files.admin import runs  # noqa: F401 - it registers its pages

__all__ = ["FileAdmin", "TokenAdmin"]
