"""The zone of the times on pages: the browser's own, which a cookie names."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

COOKIE = "timezone"  # `files/zone.js` sets it
SHOWN = ("files_", "index")  # how the names of pages begin that show times, and take none


class TimeZoneMiddleware:
    """Shows the times of our pages in the browser's zone, and in UTC without the cookie.

    What programs read has UTC, also where a browser asks for it. So have forms that take times, as
    Django's own of users: a zone that changes before one is sent would change what is stored.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self.get_response(request)
        finally:
            timezone.deactivate()

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        """Activate the zone, as soon as it is known whose page it is."""
        match: Any = request.resolver_match
        if match.app_name == "admin" and (match.url_name or "").startswith(SHOWN):
            timezone.activate(_zone(request.COOKIES.get(COOKIE, "UTC")))


@lru_cache
def _zone(name: str) -> ZoneInfo:
    """Return the zone of this name, which may be anything; UTC where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # as of a folder, or of what is no zone
        return ZoneInfo("UTC")
