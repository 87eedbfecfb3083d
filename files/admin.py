"""The catalogue in the Django admin."""

import logging
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.files.base import File as Content
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.db.models.functions import Collate
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files.fields import validate_object_key
from files.models import File

logger = logging.getLogger(__name__)

# Control characters as their pictures in Unicode, so that two keys that differ look different.
_VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}


class Upload(Content):
    """An uploaded content under a key that is not cleaned, as Django does with its name."""

    def __init__(self, uploaded: UploadedFile, key: str) -> None:
        super().__init__(uploaded.file, key)
        self.content_type = uploaded.content_type


class UploadForm(forms.ModelForm):
    """A new file: its content, and the key to keep it under."""

    content = forms.FileField(label=_("content"), allow_empty_file=True)
    key = forms.CharField(
        label=_("key"),
        required=False,
        strip=False,
        widget=forms.TextInput(attrs={"class": "vLargeTextField"}),
        help_text=_("Where to keep it in the bucket, exactly. Empty: the name of the file."),
    )

    class Meta:
        model = File
        fields: list[str] = []

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        content: Any = data.get("content")
        if content is not None:
            key = data.get("key") or default_storage.get_valid_name(content.name)
            try:
                validate_object_key(key)
                if File.objects.filter(object_key=key).exists() or default_storage.exists(key):
                    text = _("There is a file of this key already: choose another key.")
                    raise forms.ValidationError(text, "taken")
            except forms.ValidationError as error:
                self.add_error("key", error)
            except OSError as error:
                self.add_error(None, _("S3 does not take the file: %s") % error.strerror)
            else:
                self.instance.object_key = Upload(content, key)
        return data


@admin.register(File)
class FileAdmin(admin.ModelAdmin):
    """A list that asks S3 nothing, and a page for each file that asks whether it is there."""

    list_display = ["key", "type", "file_size", "modified_at", "missing_at"]
    list_per_page = 100
    search_fields = ["object_key"]
    show_full_result_count = False
    fields = (
        "key",
        "content",
        "type",
        "file_size",
        "etag",
        "modified_at",
        "created_at",
        "missing_at",
    )
    readonly_fields = fields

    def get_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        return super().get_fields(request, obj) if obj else ["content", "key"]

    def get_readonly_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def get_form(
        self, request: HttpRequest, obj: File | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = UploadForm
        return super().get_form(request, obj, change, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[File], search_term: str
    ) -> tuple[QuerySet[File], bool]:
        """Search by the database's own collation: the key's, "C", knows the case of ASCII alone."""
        queryset = queryset.annotate(searched=Collate("object_key", "default"))
        for word in search_term.split():
            queryset = queryset.filter(searched__icontains=word)
        return queryset, False

    def has_change_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Say no: what is in the row comes from S3, and the key is what others refer to."""
        return False

    @admin.display(description=_("key"), ordering="object_key")
    def key(self, file: File) -> str:
        return str(file).translate(_VISIBLE)

    @admin.display(description=_("type"), ordering="content_type")
    def type(self, file: File) -> str:
        return file.content_type

    @admin.display(description=_("size"), ordering="size")
    def file_size(self, file: File) -> str:
        return "" if file.size is None else filesizeformat(file.size)

    @admin.display(description=_("content"))
    def content(self, file: File) -> str:
        if file.missing_at:
            return gettext("The object is missing from the bucket.")
        return format_html(
            '<a href="{0}">{1}</a> &nbsp; <a href="{0}?download">{2}</a>',
            file.get_absolute_url(),
            _("Open"),
            _("Download"),
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> File | None:
        """Return the file as S3 has it now, or as it was when S3 cannot be asked."""
        file = super().get_object(request, object_id, from_field)
        if file is not None and request.method == "GET":
            try:
                file.refresh_from_storage()
            except OSError as error:
                self._report(request, error)
        return file

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        for file in queryset.iterator():
            file.delete()

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().add_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().changelist_view, request, *args, **kwargs)

    def _reporting(
        self, view: Callable[..., HttpResponseBase], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Show what S3 refuses as a message on the page it was asked from."""
        try:
            return view(request, *args, **kwargs)
        except OSError as error:
            if request.method != "POST":
                raise
            self._report(request, error)
            return HttpResponseRedirect(request.get_full_path())

    def _report(self, request: HttpRequest, error: OSError) -> None:
        logger.error("%s", error)
        self.message_user(request, f"{error.strerror or error}.", messages.ERROR)
