"""The ASGI application, for servers such as uvicorn."""

import os
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from project import serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    serving.prepare()
    django.setup(set_prefix=False)
    from project.handler import Handler  # which needs the models

    application = Handler(settings.THREADS)
except ImproperlyConfigured as error:
    sys.exit(f"project.asgi: {error}")
