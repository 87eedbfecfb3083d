"""The Content-Security-Policy of pages.

Django 6 has a middleware for it, Django 5.2 none, and neither knows where the bucket is.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from files.models import File

NOTHING: Mapping[str, list[str]] = MappingProxyType({})


class ContentSecurityPolicyMiddleware:
    """Adds `SECURE_CSP` to each answer that has no policy of its own, as contents have.

    An answer may have `csp_sources`, which are more of the same form.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Find out where the bucket is. Raises ImproperlyConfigured."""
        self.get_response = get_response
        self._bucket = File().storage.objects.origin
        self._policy = _policy(self._bucket)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # Django's pages for developers have scripts and styles of their own in them.
        if not (settings.DEBUG and response.status_code in {404, 500}):
            more = getattr(response, "csp_sources", None)
            policy = self._policy if more is None else _policy(self._bucket, more)
            response.headers.setdefault("Content-Security-Policy", policy)
        return response


def _policy(bucket: str, more: Mapping[str, list[str]] = NOTHING) -> str:
    """Return the policy for pages that send large files to the bucket and may be redirected there.

    A browser asks the policy again for the address that a redirect names.
    """
    open_to_bucket = {"connect-src"}
    if settings.DELIVERY == "redirect":
        open_to_bucket |= {"frame-src", "img-src", "media-src"}
    return "; ".join(
        " ".join(
            [name, *sources, *more.get(name, []), *([bucket] if name in open_to_bucket else [])]
        )
        for name, sources in settings.SECURE_CSP.items()
    )
