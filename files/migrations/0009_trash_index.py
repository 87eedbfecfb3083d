"""The indexes of the trash and of long work by time, built while others use the tables."""

from django.db import migrations, models

from files.catalogue import online


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("files", "0008_trash"),
    ]

    operations = [
        online.AddIndexConcurrently(
            model_name="file",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["deleted_at", "id"],
                name="files_deleted",
            ),
        ),
        online.AddIndexConcurrently(
            model_name="work",
            index=models.Index(fields=["seen_at"], name="files_work_seen"),
        ),
    ]
