"""What all views of the API have in common."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.http import Http404
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.views import APIView

from files import access
from files.api.problems import ChangedError
from files.authentication import takes_token
from files.delivery.headers import CACHE_CONTROL
from files.models import File


class View(APIView):
    """A view that programs and people may use, as far as `needs` says for each method.

    That is by the name of a permission, such as "view", or by a function of the user.

    `fails` says by which statuses each method may refuse what is asked, such as
    ``{"GET": (404,), "PATCH": (404, 409, 412)}``: the schema tells of them as problem documents.
    Those of any request need no word: 400, 401, 403, 406, 429, 500, 503, and with a body 408, 411,
    413, 415. Where 412 stands, the schema has the header If-Match.
    """

    needs: ClassVar[dict[str, str | Callable[[Any], bool]]] = {}
    fails: ClassVar[dict[str, tuple[int, ...]]] = {}
    http_method_names = ("get", "head", "post", "put", "patch", "delete")

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view as Django calls it, to which tokens may come."""
        return takes_token(super().as_view(**initkwargs))

    def finalize_response(self, *arguments: Any, **options: Any) -> Any:
        """Return the answer, which no cache may keep for others."""
        response = super().finalize_response(*arguments, **options)
        response.headers.setdefault("Cache-Control", CACHE_CONTROL)
        return response


def find_file(request: Request, pk: int) -> File:
    """Return the file of this id. Raises Http404 where there is none that the user may see.

    Raises ChangedError where the request's If-Match names none of its ETags (RFC 9110 13.1.1).
    """
    file = File.objects.filter(pk=pk).first()
    if file is None or not access.may_read(request.user, file):
        raise Http404
    require_match(request, file)
    return file


def require_match(request: Request, file: File) -> None:
    """Raise ChangedError where the request's If-Match does not name the file as it is."""
    from files.api.serializers import etag_of

    tags = parse_etags(request.headers.get("If-Match", "*"))
    if tags != ["*"] and etag_of(file) not in tags:
        raise ChangedError
