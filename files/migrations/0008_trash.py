"""Who has put a file into the trash, and what undoes a work; tables are locked for milliseconds."""

from django.db import migrations, models

from files.catalogue import online


class Migration(migrations.Migration):
    dependencies = [
        ("files", "0007_tokens"),
    ]

    operations = [
        online.AddField(
            model_name="file",
            name="deleted_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=255,
                verbose_name="put there by",
            ),
        ),
        online.AddField(
            model_name="work",
            name="undo",
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        online.AddField(
            model_name="work",
            name="is_told",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
