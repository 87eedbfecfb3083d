"""Distributed runs, and the jobs of procrastinate by which workers do them."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.management import load_command_class
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from procrastinate.contrib.django.admin import ProcrastinateJobAdmin
from procrastinate.contrib.django.models import ProcrastinateJob

from files import jobs
from files.models import Range, Run

MOST_SHOWN = 200  # lines on the page of a run; another one has all that were kept


class TellsOfWorkers(admin.ModelAdmin):
    """Says above its pages where no worker is running, and how to start one."""

    def changelist_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        self._warn(request)
        return super().changelist_view(request, *args, **options)

    def change_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        self._warn(request)
        return super().change_view(request, *args, **options)

    def _warn(self, request: HttpRequest) -> None:
        if request.method == "GET" and not jobs.has_worker():
            self.message_user(request, jobs.NO_WORKER, messages.WARNING)


class RangeInline(admin.TabularInline):
    """The ranges of a run, with how far each is."""

    model = Range
    fields = readonly_fields = ("state", "done", "attempts", "error")
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Range]:
        return super().get_queryset(request).defer("output")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # as far as the page of the run is seen

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(TellsOfWorkers):
    """Shows how far runs are and what they have found, and stops them."""

    list_display = ["title", "state", "summary", "began_at"]
    list_filter = ["command"]
    list_per_page = 20
    fields = readonly_fields = (
        "title",
        "chosen",
        "state",
        "summary",
        "began_at",
        "ended_at",
        "lines",
    )
    inlines = [RangeInline]
    actions = ["stop"]

    class Media:
        css = {"all": ["files/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return Run.objects.with_ranges()

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.lines_view)
        return [path("<int:pk>/lines/", view, name="files_run_lines"), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_stop_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("files.change_run")

    @admin.display(description=_("run"))
    def title(self, run: Run) -> str:
        return f"{run.pk}: {run}"

    @admin.display(description=_("options"))
    def chosen(self, run: Run) -> str:
        return ", ".join(f"{name}={value}" for name, value in run.options.items() if value)

    @admin.display(description=_("result"))
    def summary(self, run: Run) -> str:
        command: Any = load_command_class("files", run.command)
        return str(command.describe(run))

    @admin.display(description=_("lines"))
    def lines(self, run: Run) -> str:
        """Return the first lines that it has printed, with a link to all."""
        found = list(run.lines(MOST_SHOWN + 1))
        if not found:
            return "-"
        text = format_html('<pre class="files-lines">{}</pre>', "\n".join(found[:MOST_SHOWN]))
        if len(found) <= MOST_SHOWN:
            return text
        url = reverse("admin:files_run_lines", args=[run.pk])
        return text + format_html('<a href="{}">{}</a>', url, _("All lines that were kept"))

    def lines_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Return the lines that were kept of each range, as text."""
        run = get_object_or_404(Run, pk=pk)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        lines = (f"{line}\n" for line in run.lines())
        return HttpResponse(lines, content_type="text/plain; charset=utf-8")

    @admin.action(description=_("Stop selected runs"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        runs = [run for run in queryset if not run.ended_at]
        for run in runs:
            jobs.stop(run)
        text = ngettext("%d run was stopped.", "%d runs were stopped.", len(runs)) % len(runs)
        self.message_user(request, text, messages.SUCCESS)


admin.site.unregister(ProcrastinateJob)


@admin.register(ProcrastinateJob)
class JobAdmin(TellsOfWorkers, ProcrastinateJobAdmin):
    """The jobs: one for each range, and for each thing that is done by the clock.

    Columns of procrastinate's own admin have styles that the policy of our pages refuses, and its
    actions are for all who may see the jobs: a run is stopped as a whole, by those who may.
    """

    actions = []

    list_display = ["pk", "task_name", "args", "status", "attempts", "scheduled_at"]
    list_filter = ["status", "task_name"]
    fields = ["pk", "task_name", "args", "status", "attempts", "scheduled_at", "priority"]
