"""What reads all rows, while others use the table.

Each step is a transaction of its own: what was interrupted is run again from the beginning, and
passes over what is there.
"""

from typing import Any

import django.db.models.functions.comparison
from django.db import migrations, models

from files.catalogue import online, takeover


def add_search(apps: Any, schema_editor: Any) -> None:
    """Index the trigrams of keys, by which any part of them is found.

    It has the keys in the case-blind form in which Django's `icontains` compares. "default" is the
    database's own collation: the key's, "C", knows the case of ASCII alone. The extension may be
    in a schema that is not searched.
    """
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        cursor.execute(
            "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_trgm'"
        )
        (schema,) = cursor.fetchone()
    if online.is_missing(schema_editor.connection, "files", "files_search"):
        schema_editor.execute(
            "CREATE INDEX CONCURRENTLY files_search ON files USING gin"
            f' (upper(object_key COLLATE "default") {schema}.gin_trgm_ops)'
        )


def remove_search(apps: Any, schema_editor: Any) -> None:
    online.drop_index(schema_editor.connection, "files_search")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("files", "0001_initial"),
    ]

    operations = [
        takeover.FinishTakeOver("File"),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                models.Func(
                    models.F("object_key"),
                    models.Value("[^/]*$"),
                    models.Value(""),
                    function="regexp_replace",
                    output_field=models.TextField(db_collation="C"),
                ),
                models.F("object_key"),
                condition=models.Q(("deleted_at", None)),
                name="files_folder",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                django.db.models.functions.comparison.Coalesce("size", 0),
                models.F("id"),
                name="files_size",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                django.db.models.functions.comparison.Coalesce("modified_at", "created_at"),
                models.F("id"),
                name="files_modified",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                fields=["content_type"], name="files_type", opclasses=["varchar_pattern_ops"]
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["object_key"],
                name="files_trashed",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                condition=models.Q(("missing_at__isnull", False)),
                fields=["object_key"],
                name="files_missing",
            ),
        ),
        migrations.RunPython(add_search, remove_search),
        # The planner knows of a folder what the index has told, and autovacuum asks only after
        # changes.
        migrations.RunSQL("ANALYZE files", migrations.RunSQL.noop),
    ]
