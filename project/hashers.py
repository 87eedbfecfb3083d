"""Passwords that are hashed one after the other, so that logins leave the machine to others."""

import threading
from typing import Any

from django.contrib.auth import hashers

from files.circuit import Bulkhead

_logins = Bulkhead("a login", share=0.25, patience=0)
_turn = threading.Lock()


class PBKDF2PasswordHasher(hashers.PBKDF2PasswordHasher):
    """Django's, which takes a CPU for half a second, but one at a time for a process.

    Raises UnavailableError where a quarter of the threads wait for that already.
    """

    def encode(self, *args: Any, **kwargs: Any) -> str:
        with _logins.waiting(), _turn:
            return super().encode(*args, **kwargs)
