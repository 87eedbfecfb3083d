"""What is known of an object's bytes, and what was found wrong with it.

One transaction, which locks the table for milliseconds: no row is read or written.
"""

from django.db import migrations, models

from files.catalogue import online


class Migration(migrations.Migration):
    dependencies = [
        ("files", "0003_work"),
    ]

    operations = [
        online.AddField(
            model_name="file",
            name="storage_class",
            field=models.CharField(
                blank=True,
                db_default="",
                editable=False,
                max_length=64,
                verbose_name="storage class",
            ),
        ),
        online.AddField(
            model_name="file",
            name="checksum",
            field=models.CharField(
                blank=True, db_default="", editable=False, max_length=255, verbose_name="checksum"
            ),
        ),
        online.AddField(
            model_name="file",
            name="verified_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="verified"
            ),
        ),
        online.AddField(
            model_name="file",
            name="changed_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="changed since"
            ),
        ),
        online.AddField(
            model_name="file",
            name="damaged_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="damaged since"
            ),
        ),
    ]
