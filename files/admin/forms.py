"""The forms of the admin."""

import logging
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.widgets import Script
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from files.admin.places import leading
from files.changes import validate_free_key
from files.errors import reason
from files.keys import as_folder, folder_of, name_of, validate_new_key, visible
from files.models import File
from files.uploads import Upload, validate_content

logger = logging.getLogger(__name__)


class KeyField(forms.CharField):
    """An object's key, or the beginning of one, exactly as it is typed."""

    widget = forms.TextInput(attrs={"class": "vLargeTextField", "spellcheck": "false"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)


class ContentField(forms.FileField):
    """An uploaded content, whose type a header of S3's can hold."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_empty_file=True, **kwargs)

    def to_python(self, data: Any) -> Any:
        content: Any = super().to_python(data)
        if content is not None:
            validate_content(content.size or 0, content.content_type or "")
        return content


class ReplaceForm(forms.Form):
    """Another content for a file."""

    required_css_class = "required"

    content = ContentField(label=_("Content"))


class FolderInput(forms.TextInput):
    """A text field that completes folders from the catalogue, and tells of a new one."""

    class Media:
        js = (Script("files/folders.js", type="module"),)

    def __init__(self) -> None:
        address = reverse_lazy("admin:files_file_folders")
        about = {"data-folders": address, "data-new": _("This folder is new.")}
        super().__init__({**KeyField.widget.attrs, **about})


class MoveForm(forms.Form):
    """Another folder."""

    required_css_class = "required"

    folder = KeyField(
        label=_("Folder"),
        required=False,
        widget=FolderInput,
        help_text=_("From the top, with a slash after each folder. Empty: the top."),
    )

    def clean_folder(self) -> str:
        return as_folder(self.cleaned_data["folder"])


class KeyForm(MoveForm):
    """A key, as a name and a folder."""

    name = KeyField(label=_("Name"))
    field_order = ("name", "folder")

    def keep(self, key: str) -> None:
        """Show the parts of a key, and keep those that cannot be shown while nothing is typed."""
        self.kept = {"name": name_of(key), "folder": folder_of(key)}
        for name, part in self.kept.items():
            if is_typeable(part):
                self.initial[name] = part
                continue
            self.fields[name].required = False
            text = _("Empty: it stays “%s”, which has line ends and cannot be typed here.")
            self.fields[name].help_text = text % visible(part)

    def clean_name(self) -> str:
        name = self._typed("name")
        if "/" in name:
            raise ValidationError(_("A name has no slash: put folders into the field “Folder”."))
        return name

    def clean_folder(self) -> str:
        return as_folder(self._typed("folder"))

    def _typed(self, name: str) -> str:
        """Return what is typed, or what was there where that was not or could not be shown."""
        typed: str = self.cleaned_data[name]
        is_asked = name in self.data and name in self.initial
        return typed if typed or is_asked else self.kept[name]


class RenameForm(KeyForm):
    """Another name, and another folder."""

    def __init__(self, key: str, data: Any = None) -> None:
        super().__init__(data)
        self.keep(key)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if "name" in data and "folder" in data:
            data["key"] = data["folder"] + data["name"]
            try:
                validate_new_key(data["key"])
            except ValidationError as error:
                self.add_error("name", error)
            if data["key"] == self.kept["folder"] + self.kept["name"]:
                self.add_error(None, _("Nothing would change: give another name or folder."))
        return data


class UploadForm(KeyForm, forms.ModelForm):
    """A new file: its content, and the key to keep it under."""

    content = ContentField(label=_("Content"))
    into = ""  # the folder that it was asked from
    user: Any = None

    class Meta:
        model = File
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False
        self.fields["name"].help_text = _("Empty: the name of the file.")
        self.keep(self.into)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        content: Any = data.get("content")
        if content is not None and "name" in data and "folder" in data:
            key = data["folder"] + (data["name"] or content.name)
            try:
                validate_free_key(key)
            except ValidationError as error:
                self.add_error("name", leading(error, self.user))
            except OSError as error:
                logger.error("Upload of %r: %s", key, error)
                self.add_error(None, reason(error))
            else:
                self.instance.object_key = Upload(content.file, key, content.content_type)
        return data


class ConfirmForm(forms.Form):
    """Asks whether it is meant."""

    confirmed = forms.BooleanField(widget=forms.HiddenInput)


def is_typeable(key: str) -> bool:
    """Return whether a text field can show a key: it would drop line ends."""
    return "\n" not in key and "\r" not in key
