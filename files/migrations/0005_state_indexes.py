"""The indexes of what was found wrong, and of what is to be verified next.

Each is built while others use the table, and is passed over where it is there already.
"""

from django.db import migrations, models

from files.catalogue import online


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("files", "0004_states"),
    ]

    operations = [
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                condition=models.Q(("changed_at__isnull", False)),
                fields=["object_key"],
                name="files_changed",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                condition=models.Q(("damaged_at__isnull", False)),
                fields=["object_key"],
                name="files_damaged",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                models.OrderBy(models.F("verified_at"), nulls_first=True),
                models.F("id"),
                condition=models.Q(("deleted_at", None)),
                name="files_verified",
            ),
        ),
    ]
