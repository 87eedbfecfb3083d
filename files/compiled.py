"""Queries of which only a value changes, for what is asked at each request."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import QuerySet
from django.utils.functional import cached_property


class CompiledQuery:
    """A query for one row by one value, which Django compiles once in a process.

    To compile it, and to find out what its columns are, takes Django several times as long as all
    else that the row costs this process. No field of the model may convert what psycopg returns.
    """

    def __init__(self, build: Callable[[Any], QuerySet], example: Any) -> None:
        self._build, self._example = build, example

    def __call__(self, value: Any) -> Any:
        """Return the row with what annotates it, None where there is none."""
        query = self._compiled
        with connection.cursor() as cursor:
            cursor.execute(query.sql, (*query.before, value, *query.after))
            row = cursor.fetchone()
        if row is None:
            return None
        count = len(query.fields)
        found = query.model.from_db(connection.alias, query.fields, row[:count])
        for name, annotation in zip(query.annotations, row[count:], strict=True):
            setattr(found, name, annotation)
        return found

    @cached_property
    def _compiled(self) -> "_Compiled":
        rows = self._build(self._example)
        sql, params = rows.query.sql_with_params()
        (at,) = [index for index, param in enumerate(params) if param == self._example]
        return _Compiled(
            rows.model,
            [field.attname for field in rows.model._meta.concrete_fields],
            list(rows.query.annotation_select),
            sql,
            params[:at],
            params[at + 1 :],
        )


class _Compiled(NamedTuple):
    """SQL that selects the fields of the model, then annotations; its parameters but the value."""

    model: Any
    fields: list[str]
    annotations: list[str]
    sql: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]
