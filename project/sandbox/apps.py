"""Throw-away services and samples: an application that production does not install."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """The commands `sandbox` and `load_samples`."""

    name = "project.sandbox"
