"""Who has put a file into the trash; its table is locked for milliseconds."""

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
    ]
