"""Sessions in the database, as Django's: the engine that SESSION_ENGINE names."""

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """Takes no key from a cookie that PostgreSQL could not hold, such as one with a zero byte."""

    def _validate_session_key(self, key: str | None) -> bool:
        return bool(super()._validate_session_key(key) and key and key.isalnum())  # type: ignore[misc]
