"""The settings, from the environment's `APP_` variables.

With none of them set, the settings load, and what needs neither database nor bucket works.
With some of them missing, or a secret that cannot be had, the start ends with one sentence.
"""

import logging
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import global_settings
from django.core.checks.security import base as security
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import DEFAULT_LOGGING

from project import env
from project.hidden import Hidden

BASE_DIR = Path(__file__).resolve().parent.parent

NOTHING_TO_WORK_ON = (
    "There is no database and no bucket to work on: set APP_BUCKET_NAME, APP_DB_SECRET,"
    " APP_DB_HOST, APP_DB_NAME, APP_DB_USER and APP_SECRET_KEY (README.md tells more), or put"
    " `sandbox` in front of the command to try it on throw-away services."
)

NOTHING_TO_SIGN = "nothing is configured, so nothing is signed with this key"


def _secret() -> dict[str, Any]:
    from project import secretsmanager

    try:
        return secretsmanager.fetch(env.text("APP_DB_SECRET"))
    except secretsmanager.SecretError as error:
        raise ImproperlyConfigured(str(error)) from None


def _tls(host: str) -> dict[str, str]:
    """Return what psycopg takes: TLS where the database is not on this machine."""
    is_near = host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}
    modes = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
    found = {"sslmode": env.choice("APP_DB_SSLMODE", "prefer" if is_near else "require", *modes)}
    if authorities := env.text("APP_DB_SSLROOTCERT"):
        found["sslrootcert"] = authorities
    return found


def _database() -> dict[str, Any]:
    """Return the database's settings: the environment's, completed by the secret.

    RDS writes ``username``, ``host``, ``port`` and ``dbname`` into the secret, besides
    ``password``. The environment wins, but for the user's name: rotation may alternate users, so
    that a name and its password belong together.
    """
    secret: dict[str, Any] = {} if IAM else _secret()
    found = {
        "APP_DB_NAME": env.text("APP_DB_NAME") or secret.get("dbname"),
        "APP_DB_USER": secret.get("username") or env.text("APP_DB_USER"),
        "APP_DB_HOST": env.text("APP_DB_HOST") or secret.get("host"),
    }
    env.require(found)
    tls = _tls(str(found["APP_DB_HOST"]))
    if IAM and tls["sslmode"] in {"disable", "allow", "prefer"}:
        raise ImproperlyConfigured("APP_DB_AUTH=iam needs TLS: set APP_DB_SSLMODE=verify-full.")
    return {
        "ENGINE": "project.postgresql",
        "NAME": found["APP_DB_NAME"],
        "USER": found["APP_DB_USER"],
        "PASSWORD": Hidden(secret.get("password", "")),
        "HOST": found["APP_DB_HOST"],
        "PORT": env.number("APP_DB_PORT", secret.get("port") or 5432),
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            "connect_timeout": 5,
            "keepalives_idle": 60,  # seconds: an operation's lock may wait for a long copy
            **tls,
            **({"iam": True} if IAM else {"secret": env.text("APP_DB_SECRET")}),
        },
    }


def _secret_key() -> Hidden:
    """Return the key; outside of debug it is one that passes Django's check W009."""
    key = env.text("APP_SECRET_KEY", NOTHING_TO_SIGN)
    is_weak = (
        len(key) < security.SECRET_KEY_MIN_LENGTH
        or len(set(key)) < security.SECRET_KEY_MIN_UNIQUE_CHARACTERS
        or key.startswith(security.SECRET_KEY_INSECURE_PREFIX)
    )
    if is_weak and CONFIGURED and not DEBUG:
        raise ImproperlyConfigured(
            f"APP_SECRET_KEY can be guessed: set {security.SECRET_KEY_MIN_LENGTH} or more random"
            " characters, such as `openssl rand -base64 48` prints."
        )
    return Hidden(key)


# W005 and W021 ask that all hosts below this one's, and browsers for ever, be bound to TLS: that is
# for whoever owns the domain to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

CONFIGURED = env.has_any("APP_DB_", "APP_BUCKET_")
if CONFIGURED:
    IAM = env.choice("APP_DB_AUTH", "password", "iam") == "iam"
    _needed = ["APP_BUCKET_NAME", "APP_SECRET_KEY"] + ([] if IAM else ["APP_DB_SECRET"])
    if not env.text("APP_DB_SECRET"):
        _needed += ["APP_DB_HOST", "APP_DB_NAME", "APP_DB_USER"]
    env.require({name: env.text(name) for name in _needed})
    DATABASES = {"default": _database()}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.dummy"}}
    SILENCED_SYSTEM_CHECKS += ["fields.E220", "fields.E222"]  # no database computes no columns

# What serves the web

BIND = env.text("APP_BIND", "0.0.0.0:8000")
WORKERS = env.number("APP_WORKERS", 0)  # processes, 0 for one for each CPU
GRACE = env.number("APP_GRACE", 30)  # seconds that a response may last once the server is to end
THREADS = env.number("APP_THREADS", 16)  # of a process that serves the web, each with one request
DATABASE_POOL = env.number("APP_DB_POOL", 0)  # connections of a process that serves the web

DEBUG = env.flag("APP_DEBUG")
SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = [Hidden(key) for key in env.words("APP_SECRET_KEY_FALLBACKS")]
ALLOWED_HOSTS = env.words("APP_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("APP_CSRF_TRUSTED_ORIGINS")
TRUSTED_PROXIES = env.number("APP_TRUSTED_PROXIES", 0)  # our own that stand before this process

TOKEN_DAYS = env.number("APP_TOKEN_DAYS", 365)  # that a token may last

METRICS = env.flag("APP_METRICS")
METRICS_TOKEN = Hidden(env.text("APP_METRICS_TOKEN"))
if METRICS and len(METRICS_TOKEN) < 16:
    raise ImproperlyConfigured(
        "APP_METRICS needs APP_METRICS_TOKEN, 16 characters or more that nobody can guess, such as"
        " `openssl rand -hex 16` prints."
    )

# The bytes

STORAGES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "files.storage.ObjectStorage",
        "OPTIONS": {
            "bucket_name": env.text("APP_BUCKET_NAME"),
            "location": env.text("APP_BUCKET_LOCATION"),
        },
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

MAX_UPLOAD = env.size("APP_MAX_UPLOAD", "16MiB")  # what goes through the application
MAX_OBJECT = env.size("APP_MAX_OBJECT", "48TiB")  # what goes to S3 in parts, which takes no more

EVENTS_QUEUE_URL = env.text("APP_EVENTS_QUEUE_URL")  # of SQS, to which S3 sends its events
VERIFY_DAYS = env.number("APP_VERIFY_DAYS", 0)  # in which verify_files reads all bytes once

JOBS = env.flag("APP_JOBS")  # of procrastinate, whose workers do what commands distribute
SCHEDULES = env.flag("APP_SCHEDULES")  # by which workers purge and verify without being asked

DELIVERY = env.choice("APP_DELIVERY", "stream", "redirect", "accel")

# Django

INSTALLED_APPS = [
    "project.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "files",
]
# Production has no use for throw-away services, and its image leaves them out.
if (DEBUG or not CONFIGURED) and (BASE_DIR / "project" / "sandbox").is_dir():
    INSTALLED_APPS.append("project.sandbox")

if JOBS:
    if not find_spec("procrastinate"):
        raise ImproperlyConfigured("APP_JOBS needs the package procrastinate, the extra `jobs`.")
    INSTALLED_APPS.insert(INSTALLED_APPS.index("files"), "procrastinate.contrib.django")
    PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
    PROCRASTINATE_IMPORT_PATHS = ["files.jobs"]
    PROCRASTINATE_ON_APP_READY = "project.jobs.connect"
    # A job that is told to stop goes on by another worker: within a second, so that none is killed.
    PROCRASTINATE_WORKER_DEFAULTS = {"shutdown_graceful_timeout": 0}

MIDDLEWARE = [
    "files.health.HealthMiddleware",
    "project.logs.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "project.csp.ContentSecurityPolicyMiddleware",
    "django.middleware.common.CommonMiddleware",
    "files.authentication.TokenMiddleware",  # what stands behind it is for people
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "files.bodies.BodyLimitMiddleware",
    "project.zones.TimeZoneMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "project.errors.csrf_failure"

# Ten failures of a user at an address, or a hundred of all at it, end its logins for half an hour.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "files.access.Backend",
]
AXES_HANDLER = "project.logins.Handler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=30)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # neither longer nor more rows
AXES_CLIENT_IP_CALLABLE = "project.logins.network"
AXES_LOCKOUT_CALLABLE = "project.errors.too_many_logins"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_SENSITIVE_PARAMETERS = ["username"]  # in the log: a password may be typed in its place
AXES_VERBOSE = False

# The API: `files.api` says what each of its views needs, and nothing is open.

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "files.api.authentication.TokenAuthentication",
        "files.api.authentication.PageAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["files.api.permissions.Allowed"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["files.api.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "files.api.schema.AutoSchema",
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_VERSION": "1",
    "ALLOWED_VERSIONS": ["1"],
    "EXCEPTION_HANDLER": "files.api.problems.handle",
    "URL_FORMAT_OVERRIDE": None,  # a query says what is wanted, the header Accept in which form
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Files",
    "DESCRIPTION": """A catalogue of files: the rows in PostgreSQL, the bytes in S3.

Come with a token in the header `Authorization: Bearer files_...`. What goes wrong is a problem
document (RFC 9457), whose `type` never changes.

**What may change.** Within version 1, addresses, fields, parameters and kinds of problems are only
added, so ignore those that you do not know. What is removed or gets another meaning has
`Accept: application/json; version=2`; without a version you get version 1, for as long as the
release notes (`CHANGELOG.md`) say. Texts for people, as in `detail`, may change at any time.""",
    "VERSION": None,
    "SCHEMA_PATH_PREFIX": "/api",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["files.api.permissions.Allowed"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "RunState": "files.api.runs.STATES",
        "WorkState": "files.api.works.STATES",
    },
    "PATH_CONVERTER_OVERRIDES": {"int": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}},
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

PASSWORD_HASHERS = [
    "project.hashers.PBKDF2PasswordHasher",
    *global_settings.PASSWORD_HASHERS[1:],  # for passwords that another project has hashed
]

# What comes by TLS, where it is ended in front of this process

SECURE_HSTS_SECONDS = env.number("APP_HSTS_SECONDS", 0)
SECURE_SSL_REDIRECT = env.flag("APP_SSL_REDIRECT")
if _header := env.text("APP_PROXY_SSL_HEADER").upper().replace("-", "_"):
    SECURE_PROXY_SSL_HEADER = (f"HTTP_{_header}", "https")

SESSION_ENGINE = "project.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
if not DEBUG:  # no other host, not even one below the same domain, can set a cookie of such a name
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # no cookie of its own

# What pages may load, in the form of Django 6: project/csp.py adds the bucket's address, and leaves
# contents their own stricter policy.
SECURE_CSP = {
    "default-src": ["'none'"],
    "base-uri": ["'none'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "frame-src": ["'self'"],
    "img-src": ["'self'"],
    "media-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

if METRICS:
    MIDDLEWARE.insert(2, "project.metrics.MetricsMiddleware")

STATIC_URL = "/static/"
STATIC_ROOT = env.text("APP_STATIC_ROOT", str(BASE_DIR / "static"))
if not DEBUG:  # with it, runserver serves the static files from where they are
    STORAGES["staticfiles"] = {"BACKEND": "project.staticfiles.HashedStaticFilesStorage"}
    MIDDLEWARE.insert(
        1 + MIDDLEWARE.index("django.middleware.security.SecurityMiddleware"),
        "whitenoise.middleware.WhiteNoiseMiddleware",
    )


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


# Text where a person reads it; `project.serving` lets what serves the web write JSON, but in debug.
_style = "line" if DEBUG or sys.stderr.isatty() else "json"
_audit: dict[str, Any] = {"()": "project.logs.AuditStream", "stream": "ext://sys.stderr"}
if DEBUG:
    _audit = {"class": "logging.NullHandler"}
if _path := env.text("APP_AUDIT_FILE"):
    _audit = {
        "()": "project.logs.AuditFile",
        "filename": _path,
        "encoding": "utf-8",
        "delay": True,
    }

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "project.logs.LineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "project.logs.JSONFormatter"},
        "runserver": DEFAULT_LOGGING["formatters"]["django.server"],
    },
    "filters": {
        "without_traceback": {
            "()": "django.utils.log.CallbackFilter",
            "callback": _without_traceback,
        },
        "faults": {"()": "project.logs.FaultFilter"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": _style},
        "stderr_line": {
            "class": "logging.StreamHandler",
            "formatter": _style,
            "filters": ["without_traceback"],
        },
        "worker": {
            "class": "logging.StreamHandler",
            "formatter": _style,
            "filters": ["faults"],
        },
        "audit": {"formatter": "json", **_audit},
        "runserver": {"class": "logging.StreamHandler", "formatter": "runserver"},
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "files": {"level": "INFO"},
        # A command says itself what S3 refuses; a server logs each request: `project.serving`.
        "files.s3": {"level": "CRITICAL"},
        "files.audit": {"handlers": ["audit"], "level": "INFO", "propagate": False},
        "project": {"level": "INFO"},
        "project.requests": {"level": "WARNING"},
        "django": {"level": "INFO", "propagate": True},
        "axes": {"level": "WARNING"},
        "procrastinate": {"handlers": ["worker"], "level": "WARNING", "propagate": False},
        "procrastinate.worker": {"level": "INFO"},
        # What no task of a worker has waited for, such as a job whose end could not be written.
        "asyncio": {"handlers": ["worker"], "propagate": False},
        # Requests that Django refuses, such as for a host that is not allowed: any client can cause
        # them, as often as it likes.
        "django.security": {"handlers": ["stderr_line"], "propagate": False},
        # As Django has it: what is set for "django" resets the loggers below.
        "django.server": {"handlers": ["runserver"], "level": "INFO", "propagate": False},
        # What servers say of themselves; of requests our own lines say more.
        "gunicorn.error": {"propagate": True},
        "uvicorn": {"propagate": True},
        "uvicorn.error": {"propagate": True},
        "uvicorn.access": {"propagate": False},
    },
}
