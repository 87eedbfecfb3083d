"""psycopg with our connections: what Django calls the `Database` of a backend."""

from psycopg import *  # noqa: F403

from project.postgresql.connection import Connection

connect = Connection.connect
