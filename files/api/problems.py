"""What went wrong, as a problem document (RFC 9457) with a type that stays."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpResponse, UnreadablePostError
from django.utils.translation import gettext as _
from rest_framework import exceptions

from files import access, changes
from files.api.permissions import NotAllowedError
from files.errors import RETRY_AFTER, problem, reason, unauthenticated
from files.listing import CursorError, TooSlowError
from files.operations import ConflictError
from files.storage import ArchivedError, ObjectChangedError, S3UnavailableError

logger = logging.getLogger(__name__)

# What a ValidationError of ours is about, by its code: the status, and the kind of the problem.
CODES = {
    "digest": (400, "digest"),
    "in_trash": (409, "in-trash"),
    "live": (409, "not-in-trash"),
    "object": (409, "object-without-file"),
    "over": (410, "over"),
    "taken": (409, "taken"),
    "too_large": (413, "too-large"),
    "too_many": (429, "too-many"),
    "trashed": (409, "in-trash"),
}


class ChangedError(Exception):
    """The file is not as the client has seen it: its If-Match names another ETag."""


def handle(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Return the answer to an error of a view, None for a fault of ours, which Django logs."""
    request = context["request"]
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return unauthenticated(_("Send a token in the header Authorization, or log in."))
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return problem(403, _why_not(error, request))
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    if isinstance(error, Http404):
        return problem(404, _("There is nothing of this address that you may see."))
    if isinstance(error, ValidationError):
        return _of_validation(error, request.user)
    if isinstance(error, ChangedError) or _is_unmatched(error, request):
        return problem(412, _("The file has changed since you have seen it: get it again."))
    if isinstance(error, CursorError):
        return problem(400, _("This is no cursor of this list: begin at its first page."))
    if isinstance(error, TooSlowError):
        return problem(503, _("This takes the database too long: ask for less of it."), "too-slow")
    if isinstance(error, OSError | IntegrityError):
        return _of_storage(error, request)
    return None


def _why_not(error: PermissionDenied | exceptions.PermissionDenied, request: Any) -> str:
    """Return what is lacking, and how to get it."""
    if isinstance(error, PermissionDenied) and str(error):
        return str(error)
    if str(error).startswith("CSRF"):
        return _("Send what the CSRF cookie has in the header X-CSRFToken: reload the page.")
    if request.auth is not None:
        return _("Your token may not do this, by its scope or by the permissions of its user.")
    return _("You may not do this: ask an administrator for the permission.")


def _of_validation(error: ValidationError, user: Any) -> HttpResponse:
    """Answer what is wrong with a request: of a key that is taken, what may be done."""
    code = getattr(error, "code", None) or ""
    status, kind = CODES.get(code, (400, ""))
    if code not in {"in_trash", "object", "taken"}:
        return problem(status, reason(error), kind)
    needed = {"in_trash": ["replace", "restore"], "taken": ["replace"]}.get(code)
    replaceable = bool(needed) and all(access.has_permission(user, name) for name in needed or ())
    members: dict[str, Any] = {"taken": True, "replaceable": replaceable}
    if holder := changes.holder(error, user):
        members["file"] = holder
    return problem(status, reason(error), kind, **members)


def _is_unmatched(error: Exception, request: Any) -> bool:
    """Return whether a file has changed since its If-Match was compared."""
    return isinstance(error, ConflictError) and "If-Match" in request.headers


def _of_framework(error: exceptions.APIException) -> HttpResponse:
    """Answer what Django REST framework refuses, with what is wrong in each field."""
    members: dict[str, Any] = {}
    detail: Any = error.detail
    if isinstance(error, exceptions.ValidationError):
        members["errors"] = detail
        detail = _first(detail)
    response = problem(error.status_code, str(detail), **members)
    if isinstance(error, NotAllowedError):
        response.headers["Allow"] = ", ".join(error.allowed)
    return response


def _first(detail: Any) -> str:
    """Return the first sentence of what is wrong, with the name of its field."""
    if isinstance(detail, dict):
        name, found = next(iter(detail.items()))
        text = _first(found)
        return text if name in {"non_field_errors", "__all__"} else f"{name}: {text}"
    return _first(detail[0]) if isinstance(detail, list) else str(detail)


def _of_storage(error: Exception, request: Any) -> HttpResponse:
    """Answer what S3 or the database does not do, and log what is not the client's doing."""
    if isinstance(error, FileExistsError):
        return problem(409, reason(error), "taken", taken=True, replaceable=False)
    if isinstance(error, UnreadablePostError):
        return problem(400, _("The request broke off."))
    if isinstance(error, ArchivedError):
        return problem(409, reason(error), "archived")
    if isinstance(error, FileNotFoundError):
        return problem(409, reason(error), "missing")
    if isinstance(error, IntegrityError):
        return problem(409, reason(error), "needed")
    if isinstance(error, ObjectChangedError):  # ConflictError is one, too
        return problem(409, reason(error))
    logger.error("%s %s: %s", request.method, request.path, error)
    if isinstance(error, S3UnavailableError):
        response = problem(503, reason(error))
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    return problem(502, reason(error))
