"""The tables, new, or that of the files taken over from the original script.

One transaction, in which the table of the files comes last: it is locked for milliseconds.
"""

import django.db.models.functions.datetime
import django.db.models.lookups
from django.db import migrations, models

import files.fields
from files.catalogue import takeover

# A row that goes, or gets another key, leaves its object behind: only what takes care of the object
# may do that, and has named the row in files_operation before. TRUNCATE is free.
GUARD = """
CREATE FUNCTION files_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM files_operation
        WHERE object_key = OLD.object_key AND file_id = OLD.id AND kind = 'delete'
    ) THEN
        RAISE EXCEPTION
            'The object of file % would be left without a row: use File.delete(), File.trash() or'
            ' File.rename(), one file at a time', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER files_guard_delete BEFORE DELETE ON files
    FOR EACH ROW WHEN (OLD.missing_at IS NULL) EXECUTE FUNCTION files_guard();
CREATE TRIGGER files_guard_update BEFORE UPDATE OF object_key ON files
    FOR EACH ROW WHEN (OLD.missing_at IS NULL AND OLD.object_key <> NEW.object_key)
    EXECUTE FUNCTION files_guard();
"""
NO_GUARD = """
DROP TRIGGER files_guard_delete ON files;
DROP TRIGGER files_guard_update ON files;
DROP FUNCTION files_guard();
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Operation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("create", "creation"),
                            ("replace", "replacement"),
                            ("rename", "rename"),
                            ("delete", "deletion"),
                            ("upload", "upload"),
                        ],
                        max_length=16,
                    ),
                ),
                ("file_id", models.BigIntegerField(null=True)),
                ("object_key", models.TextField(db_collation="C")),
                ("copy_key", models.TextField(db_collation="C", db_default="", default="")),
                ("etag", models.CharField(db_default="", default="", max_length=255)),
                ("mark", models.CharField(db_default="", default="", max_length=32)),
                ("upload_id", models.TextField(db_default="", default="")),
                ("who", models.CharField(db_default="", default="", max_length=255)),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "verbose_name": "operation",
                "verbose_name_plural": "operations",
                "db_table": "files_operation",
                "default_permissions": (),
            },
        ),
        # By themselves: those in the options of a model are made after its migration, which a
        # process that is killed between would never be able to repeat.
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(fields=["object_key"], name="files_operation_key"),
        ),
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(
                condition=models.Q(("copy_key", ""), _negated=True),
                fields=["copy_key"],
                name="files_operation_copy",
            ),
        ),
        takeover.CreateOrTakeOver(
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
                (
                    "deleted_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="in the trash since"
                    ),
                ),
                (
                    "original_key",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        editable=False,
                        verbose_name="original key",
                    ),
                ),
            ],
            options={
                "verbose_name": "file",
                "verbose_name_plural": "files",
                "db_table": "files",
                "ordering": ["object_key"],
                "permissions": [
                    ("replace_file", "Can replace the content of file"),
                    ("restore_file", "Can see and restore file in the trash"),
                    ("purge_file", "Can delete file permanently"),
                ],
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
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("object_key__startswith", ".files/"), _negated=True),
                            models.Q(("original_key", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="files_object_key_not_reserved",
                        violation_error_message="This key is reserved: choose another key.",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARD, NO_GUARD),
    ]
