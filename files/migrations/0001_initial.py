"""The table of the files, new, or taken over from the original script."""

from typing import Any

import django.db.models.functions.datetime
import django.db.models.lookups
from django.db import migrations, models

import files.fields
from files.catalogue import takeover


class CreateOrTakeOver(migrations.CreateModel):
    """CreateModel, but for a table that stands there already with `id` and `object_key`.

    That one keeps its rows, their ids and keys, and gets what is new. PostgreSQL runs a migration
    in one transaction, so an error changes nothing.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        with schema_editor.connection.cursor() as cursor:
            tables = schema_editor.connection.introspection.table_names(cursor)
            if model._meta.db_table not in tables:
                super().database_forwards(app_label, schema_editor, from_state, to_state)
                return
            cursor.execute("LOCK TABLE files IN ACCESS EXCLUSIVE MODE")
            takeover.refuse_unusable_keys(cursor)
            takeover.convert_columns(cursor)
        for field in model._meta.local_fields:
            if field.name not in {"id", "object_key"}:
                schema_editor.add_field(model, field)
        for constraint in model._meta.constraints:
            schema_editor.add_constraint(model, constraint)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        CreateOrTakeOver(
            name="File",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("object_key", files.fields.ObjectKeyField(upload_to="", verbose_name="key")),
                (
                    "size",
                    models.BigIntegerField(
                        blank=True, editable=False, null=True, verbose_name="size"
                    ),
                ),
                (
                    "content_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        editable=False,
                        max_length=255,
                        verbose_name="type",
                    ),
                ),
                (
                    "etag",
                    models.CharField(
                        blank=True,
                        db_default="",
                        editable=False,
                        max_length=255,
                        verbose_name="ETag",
                    ),
                ),
                (
                    "modified_at",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="modified"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="added",
                    ),
                ),
                (
                    "missing_at",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="missing since"
                    ),
                ),
            ],
            options={
                "verbose_name": "file",
                "verbose_name_plural": "files",
                "db_table": "files",
                "ordering": ["object_key"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("object_key",),
                        name="files_object_key_unique",
                        violation_error_message="There is a file of this key already.",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.LessThanOrEqual(
                            models.Func(
                                models.F("object_key"),
                                function="octet_length",
                                output_field=models.IntegerField(),
                            ),
                            1024,
                        ),
                        name="files_object_key_length",
                        violation_error_message="A key has at most 1,024 bytes in UTF-8.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("object_key", ""), _negated=True),
                        name="files_object_key_not_empty",
                        violation_error_message="A key must not be empty.",
                    ),
                ],
            },
        ),
    ]
