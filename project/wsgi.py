"""The WSGI application: what gunicorn serves."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from project import serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    serving.prepare()
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    sys.stderr.write(f"project.wsgi: {error}\n")
    sys.exit(3)  # with which gunicorn ends; by any other it starts the process again, for ever
