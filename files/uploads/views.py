"""The steps of an upload over HTTP: JSON, and the status codes."""

import json
import logging
from collections.abc import Callable
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.http import HttpRequest, JsonResponse, UnreadablePostError
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from files import access
from files.bodies import takes_upload
from files.errors import RETRY_AFTER, reason
from files.storage import ArchivedError, S3UnavailableError
from files.uploads import steps
from files.uploads.requests import Begin, Fields, Finish, Sign, Ticket, Whole
from files.uploads.steps import Stored

logger = logging.getLogger(__name__)

_STATUS = {"over": 410, "too_large": 413, "too_many": 429}

View = Callable[[HttpRequest], JsonResponse]
Step = Callable[[], dict[str, Any]]


def _at_once(request: HttpRequest, key: str, step: Step) -> dict[str, Any]:
    return step()


def json_views(
    describe: Callable[[HttpRequest, Stored], dict[str, Any]],
    finish: Callable[[HttpRequest, str, Step], dict[str, Any]] = _at_once,
) -> dict[str, View]:
    """Return the view of each step, which answers in JSON.

    `describe` is called for each file that has been sent, and returns what to answer of it.
    `finish` takes the last step of an upload to the key, which may take long: then it returns the
    address of the `work`, after which that step is asked for again.
    """
    table: dict[str, tuple[Any, ...]] = {
        "whole": (_form_fields, Whole, steps.whole),
        "begin": (_json_fields, Begin, steps.begin),
        "sign": (_json_fields, Sign, steps.sign),
        "finish": (_json_fields, Finish, steps.finish, finish),
        "abort": (_form_fields, Ticket, steps.abort),
    }
    views = {name: _view(describe, *row) for name, row in table.items()}
    return views | {"whole": takes_upload("add")(views["whole"])}


def _view(describe: Any, read: Any, kind: Any, step: Any, do: Any = _at_once) -> View:
    @require_POST
    def view(request: HttpRequest) -> JsonResponse:
        try:
            asked = kind.parse(read(request))
        except ValidationError as error:
            return _refuse(request.user, error)

        def answer() -> dict[str, Any]:
            try:
                done = step(request.user, asked)
            except FileExistsError:
                raise
            except OSError as error:
                logger.error("Upload of %r: %s", asked.key, error)
                raise
            found: dict[str, Any] = describe(request, done) if isinstance(done, Stored) else done
            return found

        try:
            found = do(request, asked.key, answer)
        except ValidationError as error:
            return _refuse(request.user, error)
        except FileExistsError as error:
            return _refusal(409, reason(error), taken=True)
        except ArchivedError as error:
            return _refusal(409, reason(error))
        except S3UnavailableError as error:
            response = _refusal(503, reason(error))
            response.headers["Retry-After"] = str(RETRY_AFTER)
            return response
        except OSError as error:
            return _refusal(502, reason(error))
        return JsonResponse(found, status=202 if "work" in found else 200)

    return cast("View", view)


def _json_fields(request: HttpRequest) -> Fields:
    try:
        body = request.body
    except UnreadablePostError:
        raise ValidationError(gettext("The request broke off.")) from None
    return Fields(_parse_json(body, gettext("The request must be JSON.")))


def _form_fields(request: HttpRequest) -> Fields:
    """Return the fields of a form, the key as JSON because a form changes line ends."""
    fields: dict[str, Any] = {
        **request.POST.dict(),
        **request.FILES.dict(),
        "replace": "replace" in request.POST,
    }
    if "key" in fields:
        fields["key"] = _parse_json(fields["key"], gettext("“%s” must be JSON.") % "key")
    return Fields(fields)


def _parse_json(text: Any, message: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):  # TypeError: a form's file in place of a text
        raise ValidationError(message) from None


def _refuse(user: Any, error: ValidationError) -> JsonResponse:
    taken = error.code in {"taken", "in_trash", "object"}
    replaceable = error.code == "taken" or (
        error.code == "in_trash" and access.has_permission(user, "restore")
    )
    replaceable = replaceable and access.has_permission(user, "replace")
    status = 409 if taken else _STATUS.get(error.code or "", 400)
    return _refusal(status, error.messages[0], taken=taken, replaceable=replaceable)


def _refusal(
    status: int, message: str, *, taken: bool = False, replaceable: bool = False
) -> JsonResponse:
    """Answer why not; `taken`: another key would do, `replaceable`: so would a replacement."""
    answer = {"message": message, "taken": taken, "replaceable": replaceable}
    return JsonResponse(answer, status=status)
