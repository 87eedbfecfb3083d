"""Programs: who comes with a token, and how such a request goes straight to its view."""

import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_login_failed
from django.db import DatabaseError
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _

from files import access
from files.bodies import BodyLimitMiddleware
from files.compiled import CompiledQuery
from files.errors import problem, unauthenticated
from files.models import Token
from files.tokens import FORM, digest, token_of

# By what name failed tokens count among failed logins: no user can have it.
NOBODY = "(token)"

# Parameters in which other services take a token (RFC 6750 section 2.3, which advises against it).
IN_ADDRESS = {"access_token", "token"}

_BEARER = re.compile(rf"bearer +({FORM}) *", re.IGNORECASE | re.ASCII)

logger = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])


class RefusedError(Exception):
    """The request is refused before its view is called; `response` says why."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def takes_token(view: View) -> View:
    """Let programs come to the view with a token."""
    view.takes_token = True  # type: ignore[attr-defined]
    return view


def authenticate(request: HttpRequest) -> bool:
    """Let a token's user be that of the request, and return whether there is one.

    That is at an address whose view takes tokens. Raises RefusedError for a token that is none, no
    longer or not here. It costs one query.
    """
    if not _takes_token(request):
        return False
    if not IN_ADDRESS.isdisjoint(request.GET):
        text = _("Send the token in the header Authorization: addresses are logged and remembered.")
        raise RefusedError(problem(400, text, "token-in-address"))
    given = request.headers.get("Authorization", "")
    if not given.lower().startswith("bearer"):
        return False
    found = _BEARER.fullmatch(given)
    user = find_user(found[1]) if found else None
    if user is None:
        raise RefusedError(_failed(request))
    request.user = user
    return True


def find_user(text: str) -> Any:
    """Return the user of a token that counts now, with it as `token`, None where there is none.

    It is looked for by its digest: how long that takes tells nothing of any token.
    """
    user = access.keep_permissions(_by_digest(digest(text)))
    if user is not None:
        values = [getattr(user, f"token_{name}") for name in _COLUMNS]
        user.token = Token.from_db(user._state.db, _COLUMNS, values)
        user.token.user = user
    return user


# In the order of the model's fields, as `from_db` takes them.
_COLUMNS = ["id", "user_id", "name", "scope", "prefix", "parent_id", "expires_at", "last_used_at"]


def _users_by_digest(digest: str) -> QuerySet:
    users = get_user_model()._default_manager.filter(
        file_tokens__digest=digest, file_tokens__expires_at__gt=Now(), is_active=True
    )
    columns = {f"token_{name}": F(f"file_tokens__{name}") for name in _COLUMNS}
    return access.with_permissions(users).annotate(**columns)


_by_digest = CompiledQuery(_users_by_digest, "digest")


def _takes_token(request: HttpRequest) -> bool:
    """Return whether the view takes tokens, which is all that is asked of most requests."""
    is_told = "Authorization" in request.headers or "token" in request.META.get("QUERY_STRING", "")
    if not is_told:
        return False
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return False
    request.resolver_match = match
    return getattr(match.func, "takes_token", False)


def _failed(request: HttpRequest) -> HttpResponse:
    """Answer 401, or 429 where too many tokens of the address have failed; it counts as a login."""
    user_login_failed.send(sender=__name__, credentials={"username": NOBODY}, request=request)
    if getattr(request, "axes_locked_out", False):
        text = _("Too many tokens or logins from this address have failed: try again later.")
        response = problem(429, text, "too-many-failures")
        response.headers["Retry-After"] = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
        return response
    text = _("This token is not known, has expired or was revoked: ask for another one.")
    return unauthenticated(text, "invalid_token")


class TokenMiddleware:
    """Calls the view for a user who has come with a token.

    What stands behind it serves people: there is no session, no CSRF token and no message.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._call = BodyLimitMiddleware(_call_view)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            has_token = authenticate(request)
        except RefusedError as error:
            return error.response
        if not has_token:
            return self.get_response(request)
        _note_use(token_of(request.user))
        response = self._call(request)
        patch_vary_headers(response, ["Authorization"])
        return response


def _call_view(request: HttpRequest) -> HttpResponseBase:
    match: Any = request.resolver_match
    response = match.func(request, *match.args, **match.kwargs)
    if callable(getattr(response, "render", None)):
        response = response.render()
    return cast("HttpResponseBase", response)


def _note_use(token: Any) -> None:
    try:
        token.note_use()
    except DatabaseError as error:  # such as in a database that is read-only for now
        logger.warning("The use of token %s is not noted: %s", token.pk, error)
