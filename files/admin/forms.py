"""The forms of the admin."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from files.keys import validate_object_key
from files.models import File
from files.uploads import Upload, refuse_taken


class KeyField(forms.CharField):
    """An object's key, or the beginning of one, exactly as it is typed."""

    widget = forms.TextInput(attrs={"class": "vLargeTextField", "spellcheck": "false"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)


class UploadForm(forms.ModelForm):
    """A new file: its content, and the key to keep it under."""

    content = forms.FileField(label=_("content"), allow_empty_file=True)
    key = KeyField(
        label=_("key"),
        required=False,
        help_text=_("Where to keep it in the bucket, exactly. Empty: the name of the file."),
    )
    # The folder it was asked from; as JSON, because a form changes line ends.
    into = forms.JSONField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = File
        fields: list[str] = []

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        content: Any = data.get("content")
        if content is not None:
            key = data.get("key") or str(data.get("into") or "") + content.name
            try:
                refuse_taken(key)
            except ValidationError as error:
                self.add_error("key", error)
            except OSError as error:
                self.add_error(None, _("S3 does not take the file: %s") % error.strerror)
            else:
                self.instance.object_key = Upload(content, key)
        return data


class RenameForm(forms.Form):
    """Another key for a file."""

    key = KeyField(label=_("Key"), validators=[validate_object_key])


class ReplaceForm(forms.Form):
    """Another content for a file."""

    content = forms.FileField(label=_("Content"), allow_empty_file=True)


class MoveForm(forms.Form):
    """Another folder for several files."""

    folder = KeyField(
        label=_("Folder"),
        required=False,
        help_text=_("What the keys begin with, up to a slash. Empty: the top."),
    )

    def clean_folder(self) -> str:
        folder: str = self.cleaned_data["folder"]
        return f"{folder}/" if folder and not folder.endswith("/") else folder
