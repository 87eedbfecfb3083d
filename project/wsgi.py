"""The WSGI application: what gunicorn serves."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    if not settings.CONFIGURED:
        raise ImproperlyConfigured(settings.NOTHING_TO_WORK_ON)
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"project.wsgi: {error}")
