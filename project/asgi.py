"""The ASGI application, for servers such as uvicorn."""

import os
import sys

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from project import serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    serving.prepare(keeps_threads=False)
    application = get_asgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"project.asgi: {error}")
