"""Long work: what takes longer than a request should goes on, and has a page of its own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.messages import DEFAULT_TAGS
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from files import background
from files.admin.permissions import FilePermissions
from files.admin.places import trail
from files.models import Work

REFRESH = 2  # seconds between two looks at work that is under way


class AnsweredError(Exception):
    """There is nothing left to do for the request: `url` shows what comes of it."""

    def __init__(self, url: str) -> None:
        self.url = url


def answering(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let a view end by AnsweredError."""

    @wraps(view)
    def answer(*args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(*args, **kwargs)
        except AnsweredError as answered:
            return HttpResponseRedirect(answered.url)

    return answer


def linked(text: str, url: str) -> str:
    """Return the text as a link, where it leads anywhere."""
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def undo_button(work: Work) -> SafeString:
    """Return what undoes the work, by the form that the site's pages have for that."""
    return format_html(
        '<button type="submit" class="button" form="files-undo" formaction="{}">{}</button>',
        reverse("admin:files_file_undo", args=[work.pk]),
        gettext("Undo"),
    )


class WorkPages(FilePermissions):
    """Does work, and shows what takes long to its user."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.work_view)
        return [path("work/<int:pk>/", view, name="files_file_work"), *super().get_urls()]

    def do_work(
        self,
        request: HttpRequest,
        title: str,
        change: Callable[[Work], None],
        *,
        url: str,
        total: int = 1,
    ) -> Work:
        """Do it, and return the work, which tells what has come of it.

        Raises what the change raises, and AnsweredError where it takes long: then the page of the
        work shows all of it, and leads to `url`.
        """
        user: Any = request.user
        work = Work(user_id=user.pk, title=title, url=url, total=total)
        try:
            background.do(work, change)
        except background.GoesOnError:
            raise AnsweredError(reverse("admin:files_file_work", args=[work.pk])) from None
        return work

    def show_work(self, request: HttpRequest, work: Work) -> None:
        """Show on the next page what the work tells."""
        told = [(level, linked(text, url)) for level, text, url in work.told()]
        work.ended_at = timezone.now()
        if self._can_be_undone(request, work):
            work.is_told = True
            Work.objects.old().delete()
            work.write()
            level, text = told.pop()
            told.append((level, format_html("{} {}", text, undo_button(work))))
        for level, text in told:
            self.message_user(request, text, level)

    def _can_be_undone(self, request: HttpRequest, work: Work) -> bool:
        is_own = work.user_id == request.user.pk and work.ended_at is not None
        return is_own and bool(work.undo) and self.has_undo_permission(request, work)

    def work_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Show how far it is; the browser asks again by itself."""
        work = get_object_or_404(Work, pk=pk)
        if work.user_id != request.user.pk and not request.user.is_superuser:
            raise Http404
        context = self.admin_site.each_context(request) | {
            "title": work.title,
            "opts": self.opts,
            "trail": trail("", (work.title, "")),
            "work": work,
            "told": [(DEFAULT_TAGS[level], linked(text, url)) for level, text, url in work.told()],
            "undo": self._can_be_undone(request, work) and undo_button(work),
        }
        response = TemplateResponse(request, "admin/files/file/work.html", context)
        if work.is_under_way:
            response.headers["Refresh"] = str(REFRESH)
        return response
