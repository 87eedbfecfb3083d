"""The same table, with a plain FileField."""

from django.db import models


class File(models.Model):
    """A row of the table."""

    object_key = models.FileField(max_length=1024)

    class Meta:
        db_table = "files"
        managed = False

    def __str__(self) -> str:
        return str(self.object_key)
