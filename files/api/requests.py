"""What programs send, for the schema: `files.uploads.requests` reads it, and says what is wrong."""

from rest_framework import serializers

KEY = "Exact, to the byte: up to 1,024 bytes of UTF-8."
SHA256 = "A SHA-256 in Base64."
TICKET = "What the upload was begun with."


class BeginSerializer(serializers.Serializer):
    """A file that is to be sent."""

    key = serializers.CharField(help_text=KEY)
    size = serializers.IntegerField(min_value=0, help_text="In bytes.")
    type = serializers.CharField(
        required=False, allow_blank=True, help_text="The media type; guessed from the key if empty."
    )
    direct = serializers.BooleanField(
        required=False, default=True, help_text="Whether you can send parts straight to S3."
    )
    replace = serializers.BooleanField(
        required=False, default=False, help_text="Whether it may replace the content of a file."
    )


class PlanSerializer(serializers.Serializer):
    """How the file is to be sent: whole, or in parts of so many bytes, where `direct` is true."""

    direct = serializers.BooleanField()
    ticket = serializers.CharField(required=False, help_text="What names this upload.")
    part_size = serializers.IntegerField(required=False, help_text="In bytes; the last has less.")


class PartSerializer(serializers.Serializer):
    """A part that is to be sent."""

    ticket = serializers.CharField(help_text=TICKET)
    number = serializers.IntegerField(min_value=1, max_value=10_000)
    sha256 = serializers.CharField(help_text=SHA256)


class SignedPartSerializer(serializers.Serializer):
    """Where to PUT the part within the hour, and with which headers."""

    url = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())


class StateSerializer(serializers.Serializer):
    """An upload that has begun."""

    ticket = serializers.CharField(help_text=TICKET)


class SentPartSerializer(serializers.Serializer):
    """A part that S3 has."""

    number = serializers.IntegerField()
    size = serializers.IntegerField(help_text="In bytes.")
    sha256 = serializers.CharField(required=False, help_text=f"{SHA256} Not every S3 lists it.")


class SentPartsSerializer(serializers.Serializer):
    """The parts that S3 has, by their numbers."""

    parts = SentPartSerializer(many=True)


class FinishSerializer(serializers.Serializer):
    """All parts, in their order."""

    ticket = serializers.CharField(help_text=TICKET)
    sha256 = serializers.ListField(child=serializers.CharField(), help_text=f"{SHA256} of each.")


class AbortSerializer(serializers.Serializer):
    """An upload that is given up."""

    ticket = serializers.CharField(help_text=TICKET)


class RenameSerializer(serializers.Serializer):
    """Another key for a file."""

    key = serializers.CharField(help_text=KEY)


class GoesOnSerializer(serializers.Serializer):
    """It takes long, and goes on."""

    work = serializers.URLField(help_text="The address that tells how far it is.")
