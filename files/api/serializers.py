"""What is told of the rows, and what is taken from programs."""

import hashlib
import json
from typing import Any

from rest_framework import serializers
from rest_framework.reverse import reverse

from files.models import File


def etag_of(file: File) -> str:
    """Return the ETag of what is told of the file: id, key, content and state."""
    told = json.dumps([file.pk, str(file), file.etag, file.deleted_at is not None])
    return f'"{hashlib.sha256(told.encode()).hexdigest()[:32]}"'


class FileSerializer(serializers.ModelSerializer):
    """A file: its key, what is known of its content without asking S3, and where that is."""

    key = serializers.CharField(source="object_key.name", help_text="Exact, to the byte.")
    type = serializers.CharField(source="content_type", help_text="The media type, or empty.")
    etag = serializers.CharField(help_text="That of the content, as S3 has it.")
    version = serializers.SerializerMethodField(
        help_text="The ETag of this representation, for `If-Match`."
    )
    content = serializers.SerializerMethodField(help_text="The address of the content.")

    class Meta:
        model = File
        fields = (
            "id",
            "key",
            "size",
            "type",
            "etag",
            "checksum",
            "storage_class",
            "created_at",
            "modified_at",
            "verified_at",
            "missing_at",
            "changed_at",
            "damaged_at",
            "deleted_at",
            "original_key",
            "version",
            "content",
        )
        read_only_fields = fields

    def get_version(self, file: File) -> str:
        """Return the ETag of the representation."""
        return etag_of(file)

    def get_content(self, file: File) -> str:
        """Return the address of the content."""
        url: Any = reverse("files:content", args=[file.pk], request=self.context.get("request"))
        return str(url)
