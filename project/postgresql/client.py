"""The shell, `manage.py dbshell`."""

from collections.abc import Iterable

from django.db.backends.postgresql import client


class DatabaseClient(client.DatabaseClient):
    """psql, with the user and password of the moment."""

    def runshell(self, parameters: Iterable[str]) -> None:
        settings = self.connection.settings_dict
        params = self.connection.get_connection_params()
        if credentials := params.get("credentials"):
            self.connection.ensure_connection()  # which finds them
            user, password = credentials.login()
            settings |= {"USER": user, "PASSWORD": password}
        super().runshell(parameters)
