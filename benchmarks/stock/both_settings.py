"""The project's own settings, with the views that it is compared to: all else is the same."""

from project.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.stock.urls"

# Sessions that Django's own backend has begun get their users by it.
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
