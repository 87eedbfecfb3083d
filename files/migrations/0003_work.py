"""The table of long work: new, so that nobody waits for it."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("files", "0002_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Work",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user_id", models.BigIntegerField()),
                ("title", models.TextField()),
                ("url", models.TextField()),
                ("total", models.IntegerField(default=1)),
                ("done", models.IntegerField(default=0)),
                ("failed", models.IntegerField(default=0)),
                ("parts", models.IntegerField(default=0)),
                ("parts_done", models.IntegerField(default=0)),
                ("messages", models.JSONField(default=list)),
                ("started_at", models.DateTimeField(null=True)),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "long work",
                "verbose_name_plural": "long work",
                "db_table": "files_work",
                "default_permissions": (),
            },
        ),
    ]
