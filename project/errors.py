"""The pages of errors, in the admin's look: a browser gets one, a program a problem document.

None asks the database, but for that of 403, where the user is known already.
"""

import logging
import sys
from contextlib import suppress
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from files.bodies import TooLargeError
from files.circuit import UnavailableError
from files.errors import RETRY_AFTER, asks_for_html, problem

logger = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 413 where a form is too large, 400 for all else that is wrong with a request."""
    if isinstance(exception, RequestDataTooBig):
        is_ours = isinstance(exception, TooLargeError)
        text = str(exception) if is_ours else _("This is more than a form may have.")
        return answer(request, 413, _("Too large"), text)
    text = _("This request cannot be understood: go back, reload the page and try again.")
    return answer(request, 400, _("Bad request"), text)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say what is lacking, and let the user log out and in as another one."""
    text = str(exception) or _("You may not do this: ask an administrator for the permission.")
    context = {"has_permission": request.user.is_authenticated}
    return answer(request, 403, _("Not allowed"), text, request, **context)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say how to send a form again; the reason is in the log."""
    text = _("This form is out of date: go back, reload the page, allow cookies and send it again.")
    return answer(request, 403, _("Not sent"), text)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    text = _("There is nothing at this address: check it, or look for it in the list of files.")
    return answer(request, 404, _("Page not found"), text)


def too_many_logins(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, Any]
) -> HttpResponse:
    """Say when to try again to whoever has been locked out: it is axes that calls this."""
    from project.logins import seconds_locked  # which needs the models

    seconds = seconds_locked(request)
    minutes = -(-seconds // 60)
    text = ngettext(
        "Too many logins have failed: try again in %d minute, or ask an administrator.",
        "Too many logins have failed: try again in %d minutes, or ask an administrator.",
        minutes,
    )
    found = answer(request, 429, _("Too many failed logins"), text % minutes)
    found.headers["Retry-After"] = str(seconds)
    return found


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 where the database is out of reach or too many wait already, 500 for all else."""
    error = sys.exc_info()[1]
    if isinstance(error, InterfaceError | OperationalError):
        text = _("The database cannot be reached now; try again in a moment.")
    elif isinstance(error, UnavailableError):
        text = _("Too many ask for this now; try again in a moment.")
    else:
        text = _("Something is wrong here: try again, and tell an administrator if it stays.")
        return answer(request, 500, _("Server error"), text)
    response: Any = answer(request, 503, _("Not now"), text)
    response.headers["Retry-After"] = str(RETRY_AFTER)
    for refused in (error, error.__cause__):
        if isinstance(refused, UnavailableError):  # which its first failures have explained
            logger.warning("%s: %s", request.path, refused)
            response._has_been_logged = True  # as Django does, with a traceback
    return cast("HttpResponse", response)


def answer(
    request: HttpRequest,
    status: int,
    title: str,
    text: str,
    rendered_for: HttpRequest | None = None,
    **context: Any,
) -> HttpResponse:
    """Return a page to browsers, and a problem document to programs.

    Context processors, which may ask the database, run for `rendered_for` alone.
    """
    if not asks_for_html(request):
        response = problem(status, text)
    else:
        content, kind = text, "text/plain; charset=utf-8"
        context |= {"title": title, "text": text, "trail": [(title, "")], "back": _back(request)}
        context |= {name: getattr(admin.site, name) for name in ("site_header", "site_title")}
        with suppress(ValueError):  # where nobody has collected the static files
            content = render_to_string("error.html", context, rendered_for)
            kind = "text/html; charset=utf-8"
        response = HttpResponse(content, content_type=kind, status=status)
        response.headers["Cache-Control"] = "no-store"  # it tells where somebody came from
    patch_vary_headers(response, ["Accept"])
    return response


def _back(request: HttpRequest) -> str:
    """Return the address that one came from, empty where that is this one or another site's."""
    address = request.headers.get("Referer", "")
    is_ours = address.startswith(f"{request.scheme}://{request.headers.get('Host')}/")
    is_this = address.partition("?")[0].endswith(request.path)
    return address if is_ours and not is_this else ""
