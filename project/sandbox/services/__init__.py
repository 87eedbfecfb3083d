"""Throw-away PostgreSQL, S3 and SecretsManager, in containers or embedded.

Whoever uses them sees the environment variables that point at them and nothing else, so that what
runs on them starts as in production, SecretsManager included.
"""

from project.sandbox.services import environment
from project.sandbox.services.embedded import POSTGRES_USER, start_postgres
from project.sandbox.services.lifetime import users
from project.sandbox.services.processes import ServicesError, free_port, patiently, start_server
from project.sandbox.services.runner import KINDS, THROW_AWAY, Kind, running, stop_kept
from project.sandbox.services.variables import clean_environ, make_bucket

__all__ = [
    "KINDS",
    "POSTGRES_USER",
    "THROW_AWAY",
    "Kind",
    "ServicesError",
    "clean_environ",
    "environment",
    "free_port",
    "make_bucket",
    "patiently",
    "running",
    "start_postgres",
    "start_server",
    "stop_kept",
    "users",
]
