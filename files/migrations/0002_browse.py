import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("files", "0001_initial"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="file",
            options={
                "ordering": ["object_key"],
                "permissions": [
                    ("replace_file", "Can replace the content of file"),
                    ("restore_file", "Can see and restore file in the trash"),
                    ("purge_file", "Can delete file permanently"),
                ],
                "verbose_name": "file",
                "verbose_name_plural": "files",
            },
        ),
        migrations.AddField(
            model_name="file",
            name="deleted_at",
            field=models.DateTimeField(
                editable=False, null=True, verbose_name="in the trash since"
            ),
        ),
        migrations.AddField(
            model_name="file",
            name="folder",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Func(
                    models.F("object_key"),
                    models.Value("[^/]*$"),
                    models.Value(""),
                    function="regexp_replace",
                ),
                output_field=models.TextField(db_collation="C"),
                verbose_name="folder",
            ),
        ),
        migrations.AddField(
            model_name="file",
            name="original_key",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                verbose_name="original key",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("deleted_at", None)),
                fields=["folder", "object_key"],
                name="files_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                django.db.models.functions.comparison.Coalesce("size", 0),
                models.F("id"),
                name="files_size",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                django.db.models.functions.comparison.Coalesce("modified_at", "created_at"),
                models.F("id"),
                name="files_modified",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                fields=["content_type"], name="files_type", opclasses=["varchar_pattern_ops"]
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["object_key"],
                name="files_trashed",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("missing_at__isnull", False)),
                fields=["object_key"],
                name="files_missing",
            ),
        ),
        # Any part of a key is found by its trigrams, in the case-blind form in which Django's
        # `icontains` compares. "default" is the database's own collation: the key's, "C", knows
        # the case of ASCII alone. The extension may be in a schema that is not searched.
        migrations.RunSQL(
            "CREATE EXTENSION IF NOT EXISTS pg_trgm", reverse_sql=migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            "DO $$ BEGIN EXECUTE format("
            "'CREATE INDEX files_search ON files USING gin"
            ' (upper(object_key COLLATE "default") %s.gin_trgm_ops)\','
            " (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_trgm')"
            "); END $$",
            reverse_sql="DROP INDEX files_search",
        ),
    ]
