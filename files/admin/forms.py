"""The forms of the admin."""

import logging
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from files.changes import validate_free_key
from files.errors import reason
from files.keys import as_folder, validate_new_key
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


class UploadForm(forms.ModelForm):
    """A new file: its content, and the key to keep it under."""

    content = ContentField(label=_("content"))
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
                validate_free_key(key)
            except ValidationError as error:
                self.add_error("key", error)
            except OSError as error:
                logger.error("Upload of %r: %s", key, error)
                self.add_error(None, reason(error))
            else:
                self.instance.object_key = Upload(content.file, key, content.content_type)
        return data


class RenameForm(forms.Form):
    """Another key for a file."""

    key = KeyField(label=_("Key"), validators=[validate_new_key])


class ReplaceForm(forms.Form):
    """Another content for a file."""

    content = ContentField(label=_("Content"))


class MoveForm(forms.Form):
    """Another folder for several files."""

    folder = KeyField(
        label=_("Folder"),
        required=False,
        help_text=_("What the keys begin with, up to a slash. Empty: the top."),
    )

    def clean_folder(self) -> str:
        return as_folder(self.cleaned_data["folder"])


def typeable(key: str) -> str:
    """Return what a text field can show of a key: none with line ends, which it would drop."""
    return key if key.isprintable() else ""
