"""The backend: `"ENGINE": "project.postgresql"`.

Beside Django's own it takes in `OPTIONS`: `secret`, the id of the secret that USER and PASSWORD
are from; or `iam`, so that USER connects by tokens of IAM; and `patience`, the seconds after which
a server that says nothing is given up. A `pool` needs our `connection_class`.
"""

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from project.postgresql import credentials, database
from project.postgresql.client import DatabaseClient
from project.postgresql.connection import Connection


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, on connections whose password may rotate.

    A connection that the server has ended is replaced before the next statement, where no
    transaction is open. That is seen without asking the server, as CONN_HEALTH_CHECKS does.
    """

    Database = database
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        secret_id, iam = params.pop("secret", None), params.pop("iam", False)
        if iam:
            params["credentials"] = credentials.token(
                params["host"], str(params["port"]), params.pop("user")
            )
        elif secret_id:
            params["credentials"] = credentials.secret(
                secret_id, params.pop("user"), params.pop("password")
            )
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        while self.pool and _has_ended(connection):
            connection.close()
            self.pool.putconn(connection)  # which makes another one
            connection = super().get_new_connection(conn_params)
        return connection

    def close_if_health_check_failed(self) -> None:
        """Close a connection that the server has ended: Django calls it before each statement."""
        if self.connection is None or self.in_atomic_block or not self.autocommit:
            return
        if _has_ended(self.connection):
            self.connection.close()  # a pool would hand it out again
            self.close()


def _has_ended(connection: Connection) -> bool:
    """Return whether the server has ended the session, or nobody knows."""
    if connection.closed:
        return True
    if not connection.has_news():
        return False
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False
