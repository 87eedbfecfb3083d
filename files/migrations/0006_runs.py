"""The tables of distributed runs; no row of another table is read or written."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("files", "0005_state_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("command", models.CharField(max_length=64, verbose_name="command")),
                ("prefix", models.TextField(blank=True, verbose_name="prefix")),
                ("options", models.JSONField(default=dict, verbose_name="options")),
                (
                    "began_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="began"
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
            ],
            options={
                "verbose_name": "run",
                "verbose_name_plural": "runs",
                "db_table": "files_run",
                "ordering": ["-pk"],
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            name="Range",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("after", models.TextField()),
                ("upto", models.TextField()),
                ("reached", models.TextField(db_default="", default="")),
                ("job_id", models.BigIntegerField(null=True)),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("done", models.BigIntegerField(db_default=0, default=0)),
                ("bytes", models.BigIntegerField(db_default=0, default=0)),
                ("counts", models.JSONField(default=dict)),
                ("lines", models.IntegerField(db_default=0, default=0)),
                ("output", models.TextField(db_default="", default="")),
                ("error", models.TextField(db_default="", default="")),
                ("failures", models.IntegerField(db_default=0, default=0)),
                ("status", models.IntegerField(null=True)),
                ("seen_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="ranges",
                        to="files.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "range",
                "verbose_name_plural": "ranges",
                "db_table": "files_range",
                "ordering": ["pk"],
                "default_permissions": (),
            },
        ),
    ]
