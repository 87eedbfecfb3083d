"""The configuration of Django's admin for this project."""

from django.contrib.admin.apps import SimpleAdminConfig


class AdminConfig(SimpleAdminConfig):
    """Discovers no pages, which project.urls does: commands need none."""

    default_site = "project.admin.Site"
