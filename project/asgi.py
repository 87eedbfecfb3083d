"""The ASGI application, for servers such as uvicorn."""

import os
import sys

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    if not settings.CONFIGURED:
        raise ImproperlyConfigured(settings.NOTHING_TO_WORK_ON)
    # Each request has a thread of its own, so a connection that is kept is never used again.
    settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
    application = get_asgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"project.asgi: {error}")
