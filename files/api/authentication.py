"""Who asks: a program by its token, which the middleware has found, or a person by a session."""

from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from files.tokens import token_of


class TokenAuthentication(BaseAuthentication):
    """Takes the user whom `TokenMiddleware` has found, before anything of the request was read."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return the user and the token, None for a request without one."""
        user = getattr(request._request, "user", None)
        token = token_of(user)
        return None if token is None else (user, token)

    def authenticate_header(self, request: Request) -> str:
        """Return how to come (RFC 6750 section 3), which makes it a 401."""
        return 'Bearer realm="files"'


class PageAuthentication(SessionAuthentication):
    """Takes the user of a session; with the header X-User-ID no other one than that.

    So a page sends nothing in the name of somebody else who has logged in since, in another tab.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return the user, None for a request without one. Raises AuthenticationFailed."""
        found: tuple[Any, Any] | None = super().authenticate(request)
        wanted = request.headers.get("X-User-ID")
        if found and wanted not in {None, str(found[0].pk)}:
            raise AuthenticationFailed
        return found


class PageScheme(SessionScheme):
    """How the schema tells of sessions: as it does of Django REST framework's own."""

    target_class = PageAuthentication  # type: ignore[assignment]


class TokenScheme(OpenApiAuthenticationExtension):
    """How the schema tells of tokens."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the scheme, in OpenAPI's words."""
        return {"type": "http", "scheme": "bearer", "description": "A token, as `files_...`."}
