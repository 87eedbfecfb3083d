"""The project's own settings, with a stock ModelAdmin beside its own: all else is the same."""

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE, STORAGES

ROOT_URLCONF = "benchmarks.stock.admin_urls"

# No static file is asked for, so that none need to be collected.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
MIDDLEWARE[:] = [name for name in MIDDLEWARE if not name.startswith("whitenoise.")]
