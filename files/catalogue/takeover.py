"""Taking over the table of the original script: what `migrate` does where it stands already."""

from typing import Any

from django.core.management.base import CommandError
from django.db import IntegrityError, connections
from django.db.migrations.operations import CreateModel
from django.db.migrations.operations.base import Operation
from django.db.models import UniqueConstraint

from files.catalogue import online
from files.keys import MAX_KEY_LENGTH, RESERVED


def check_before_migrate(using: str, plan: list[tuple[Any, bool]], **kwargs: Any) -> None:
    """Refuse a table that cannot be taken over before any migration has changed anything.

    Lift the limits of a session too, which a role may have from the web: indexes take minutes.
    """
    first = [
        migration
        for migration, backwards in plan
        if (migration.app_label, migration.name, backwards) == ("files", "0001_initial", False)
    ]
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        if first and "files" in connection.introspection.table_names(cursor):
            refuse_unusable_keys(cursor)


def refuse_unusable_keys(cursor: Any) -> None:
    """Raise CommandError where the table has a key twice, or one that a file cannot have."""
    _refuse_repeated_keys(cursor)
    _refuse_impossible_keys(cursor)


def _refuse_repeated_keys(cursor: Any) -> None:
    cursor.execute(
        """
        SELECT object_key, string_agg(id::text, ', ' ORDER BY id) FROM files
        GROUP BY object_key HAVING count(*) > 1 ORDER BY min(id) LIMIT 5
        """
    )
    if twice := cursor.fetchall():
        named = "; ".join(f"{key!r} in the rows {ids}" for key, ids in twice)
        raise CommandError(
            f"The table files has keys more than once: {named}. Delete or change all but one row of"
            " each key, then run migrate again."
        )


def _refuse_impossible_keys(cursor: Any) -> None:
    cursor.execute(
        """
        SELECT id FROM files
        WHERE object_key IS NULL OR octet_length(object_key) NOT BETWEEN 1 AND %s
            OR object_key ^@ %s
        ORDER BY id LIMIT 5
        """,
        [MAX_KEY_LENGTH, RESERVED],
    )
    if bad := cursor.fetchall():
        named = ", ".join(str(row[0]) for row in bad)
        raise CommandError(
            f"The table files has keys that a file cannot have (empty, over {MAX_KEY_LENGTH:,}"
            f" bytes, or beginning with {RESERVED}) in the rows {named}. Correct or delete these"
            " rows, then run migrate again."
        )


class CreateOrTakeOver(CreateModel):
    """CreateModel, but for a table that stands there already with `id` and `object_key`.

    That one keeps its rows, their ids and keys, and gets what is new, but nothing that PostgreSQL
    would read all rows for: `FinishTakeOver` does that, in a later migration.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model, connection = to_state.apps.get_model(app_label, self.name), schema_editor.connection
        with connection.cursor() as cursor:
            tables = connection.introspection.table_names(cursor)
        if model._meta.db_table not in tables:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        with online.locked(connection, model._meta.db_table) as cursor:
            _convert_columns(cursor)
            for field in model._meta.local_fields:
                if field.name not in {"id", "object_key"}:
                    schema_editor.add_field(model, field)
            for constraint in model._meta.constraints:
                if not isinstance(constraint, UniqueConstraint):
                    sql = constraint.create_sql(model, schema_editor)
                    schema_editor.execute(f"{sql} NOT VALID", params=None)


class FinishTakeOver(Operation):
    """Validate the constraints and build the unique index of a table that others use meanwhile.

    It may be interrupted and run again, and finds nothing to do on a new table.
    """

    reversible = True

    def __init__(self, name: str) -> None:
        self.name = name

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model, connection = to_state.apps.get_model(app_label, self.name), schema_editor.connection
        try:
            for constraint in model._meta.constraints:
                if isinstance(constraint, UniqueConstraint):
                    _make_unique(connection, constraint.name)
                else:
                    schema_editor.execute(
                        f"ALTER TABLE files VALIDATE CONSTRAINT {constraint.name}"
                    )
        except IntegrityError:
            with connection.cursor() as cursor:
                refuse_unusable_keys(cursor)
            raise

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        pass


def _make_unique(connection: Any, name: str) -> None:
    """Give the keys a unique constraint, by an index that is built while others write."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_constraint WHERE conrelid = 'files'::regclass AND conname = %s", [name]
        )
        if cursor.rowcount:
            return
        if online.is_missing(connection, "files", name):
            try:
                cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON files (object_key)")
            except IntegrityError:
                online.drop_index(connection, name)
                raise
    with online.locked(connection, "files") as cursor:
        cursor.execute(f"ALTER TABLE files ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")


def _convert_columns(cursor: Any) -> None:
    """Give `object_key` the type, and `id` the default, that a new table has.

    An `id` of type int stays one, since another type would rewrite the table.
    """
    cursor.execute(
        """
        ALTER TABLE files
            ALTER COLUMN object_key TYPE text COLLATE "C",
            ALTER COLUMN object_key SET NOT NULL
        """
    )
    cursor.execute(
        """
        SELECT is_identity = 'YES', column_default IS NOT NULL FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'files' AND column_name = 'id'
        """
    )
    is_identity, is_serial = cursor.fetchone()
    if is_identity:
        cursor.execute("ALTER TABLE files ALTER COLUMN id SET GENERATED BY DEFAULT")
    elif not is_serial:
        cursor.execute("ALTER TABLE files ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY")
    # The next id is a new one, whatever was inserted by hand or deleted since.
    cursor.execute(
        """
        SELECT setval(sequence, greatest(nextval(sequence), (SELECT max(id) FROM files)))
        FROM (SELECT pg_get_serial_sequence('files', 'id') AS sequence) AS _
        WHERE sequence IS NOT NULL AND EXISTS (SELECT FROM files)
        """
    )
