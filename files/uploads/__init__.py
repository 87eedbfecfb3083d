"""Uploads by browsers and programs: small files through Django, large ones to S3, in parts.

Knows no admin, and no address of its own.
"""

from files.uploads.requests import (
    MAX_AGE,
    Begin,
    Fields,
    Finish,
    Sign,
    Ticket,
    Upload,
    validate_content,
)
from files.uploads.steps import abort, begin, finish, sign, state, whole

__all__ = [
    "MAX_AGE",
    "Begin",
    "Fields",
    "Finish",
    "Sign",
    "Ticket",
    "Upload",
    "abort",
    "begin",
    "finish",
    "sign",
    "state",
    "validate_content",
    "whole",
]
