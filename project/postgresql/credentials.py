"""Who connects to the database: a user and a password in a secret that rotates, or IAM's tokens."""

import logging
import threading
from collections.abc import Callable
from functools import cache
from itertools import chain, repeat
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol, TypeVar

import psycopg
from botocore.exceptions import BotoCoreError

from project import aws, secretsmanager
from project.hidden import Hidden

T = TypeVar("T")

PATIENCE = 3.5  # seconds that a connection waits for a rotation, with an ask each second
PAUSE = 5  # seconds before a SecretsManager that failed is asked again
LOG_INTERVAL = 60  # seconds

logger = logging.getLogger(__name__)


class RefusedError(psycopg.OperationalError):
    """A server was reached and asked for a password, and lets nobody in by it.

    Or for another reason: a connection that is not made has no SQLSTATE.
    """


class Login(NamedTuple):
    """A user's name and password."""

    user: str
    password: str


class Credentials(Protocol):
    """What makes connections, by a function that takes a user's name and password."""

    def connect(self, connect: Callable[[str, str], T]) -> T: ...

    def login(self) -> Login: ...


class Secret:
    """The user and password of a secret in SecretsManager, which may rotate at any time.

    The secret is asked for only when the database refuses what it has said before, at most once a
    second, and by one thread for all that are refused meanwhile. Whether it says another password
    decides, never the text of the refusal, which may be in any language.
    """

    def __init__(self, secret_id: str, user: str, password: str) -> None:
        self._id = secret_id
        self._login = Login(user, Hidden(password))
        self._lock = threading.Lock()
        self._next_ask = self._given_up = self._logged = float("-inf")

    def login(self) -> Login:
        """Return what the database took last."""
        return self._login

    def connect(self, connect: Callable[[str, str], T]) -> T:
        """Return what `connect` returns for the user and password.

        While a rotation is under way it waits for up to 3 s. Raises psycopg.OperationalError.
        """
        login, began = self._login, monotonic()
        try:
            return connect(*login)
        except RefusedError as error:
            refusal = error
        with self._lock:
            if self._login == login:
                if self._given_up > began:  # by a thread that was refused at the same time
                    raise self._explained(refusal)
                try:
                    return self._renew(connect, refusal)
                except psycopg.Error:
                    self._given_up = monotonic()
                    raise
        return self.connect(connect)

    def _renew(self, connect: Callable[[str, str], T], refusal: RefusedError) -> T:
        """Connect by another password of the secret.

        The rotation of AWS sets the password in the database first, while the secret has it as
        AWSPENDING, and makes it AWSCURRENT some time later.
        """
        end = monotonic() + PATIENCE
        refused = {self._login}
        for stage in chain(("AWSCURRENT", "AWSPENDING"), repeat("AWSCURRENT")):
            if not self._may_ask(end):
                break
            login = self._ask(stage)
            if login is None or login in refused:
                continue
            try:
                found = connect(*login)
            except RefusedError:
                refused.add(login)
            else:
                self._login = login
                logger.info("The database takes another password of the secret %r.", self._id)
                return found
        raise self._explained(refusal)

    def _may_ask(self, end: float) -> bool:
        """Wait until the secret may be asked for, two at once and then one a second; or say no.

        What failed is not waited for.
        """
        now = monotonic()
        if max(now, self._next_ask) > end or self._next_ask > now + 1:
            return False
        sleep(max(0, self._next_ask - now))
        self._next_ask = max(self._next_ask, now - 1) + 1
        return True

    def _ask(self, stage: str) -> Login | None:
        try:
            secret = secretsmanager.fetch(self._id, stage)
        except secretsmanager.SecretError as error:
            if stage == "AWSCURRENT":
                self._fail(error)
            return None
        return Login(secret.get("username") or self._login.user, Hidden(secret["password"]))

    def _fail(self, error: secretsmanager.SecretError) -> None:
        now = monotonic()
        self._next_ask = now + PAUSE
        if now - self._logged > LOG_INTERVAL:
            self._logged = now
            logger.warning("The database refuses the password that was taken before. %s", error)

    def _explained(self, refusal: RefusedError) -> RefusedError:
        return RefusedError(f"{refusal} (the secret {self._id!r} says no password that works)")


class Token:
    """A user who connects by tokens of IAM in place of a password (RDS: 15 minutes each)."""

    def __init__(self, host: str, port: str, user: str) -> None:
        self._place = {"DBHostname": host, "Port": port, "DBUsername": user}
        self._user = user

    def login(self) -> Login:
        """Return the user with a token that this process has signed just now, without a request.

        Raises psycopg.OperationalError where there is nothing to sign by.
        """
        try:
            token = _rds().generate_db_auth_token(**self._place)
        except BotoCoreError as error:
            raise psycopg.OperationalError(f"no token can be signed by AWS IAM: {error}") from error
        return Login(self._user, Hidden(token))

    def connect(self, connect: Callable[[str, str], T]) -> T:
        """Return what `connect` returns for the user and a new token."""
        return connect(*self.login())


def secret(secret_id: str, user: str, password: str) -> Secret:
    """Return the process's one Secret for what the settings say."""
    with _one:  # a cache alone lets two threads that come first make two
        return _secret(secret_id, user, password)


_one = threading.Lock()
_secret = cache(Secret)


@cache
def token(host: str, port: str, user: str) -> Token:
    """Return the process's one Token for what the settings say."""
    return Token(host, port, user)


@cache
def _rds() -> Any:
    return aws.session().create_client("rds")
