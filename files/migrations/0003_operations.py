import django.db.models.functions.datetime
from django.db import migrations, models

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
    dependencies = [
        ("files", "0002_browse"),
    ]

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
                "indexes": [
                    models.Index(fields=["object_key"], name="files_operation_key"),
                    models.Index(
                        condition=models.Q(("copy_key", ""), _negated=True),
                        fields=["copy_key"],
                        name="files_operation_copy",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARD, NO_GUARD),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("object_key__startswith", ".files/"), _negated=True),
                    models.Q(("original_key", ""), _negated=True),
                    _connector="OR",
                ),
                name="files_object_key_not_reserved",
                violation_error_message="This key is reserved: choose another key.",
            ),
        ),
    ]
