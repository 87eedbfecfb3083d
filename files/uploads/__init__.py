"""Uploads by browsers and programs: small files through Django, large ones to S3, in parts.

Knows no admin, and no address of its own.
"""

from files.uploads.requests import Upload, validate_content
from files.uploads.steps import Stored, validate_free_key
from files.uploads.views import json_views

__all__ = ["Stored", "Upload", "json_views", "validate_content", "validate_free_key"]
