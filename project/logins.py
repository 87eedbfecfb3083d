"""What slows down those who guess passwords: django-axes, with a limit for each address too."""

from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, Sum
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from project.addresses import client_address

# Failures that an address may have more than one user at it: many people may share it.
SHARED = 90


class Handler(AxesDatabaseHandler):
    """Locks a user out at one address, or all who come from it."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return what AXES_FAILURE_LIMIT limits."""
        of_user, of_address = (
            attempts.aggregate(sum=Sum("failures_since_start", default=0))["sum"]
            for attempts in self.get_user_attempts(request, credentials)
        )
        return int(max(of_user, of_address - SHARED))

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: Any = None, **about: Any
    ) -> None:
        """Count no failure of who is locked out already: axes asks that for passwords alone."""
        if request is not None and not request.axes_locked_out:
            request.axes_locked_out = self.is_locked(request, credentials)
        super().user_login_failed(sender, credentials, request, **about)


@receiver(pre_save, sender=AccessAttempt)
def _keep_no_form(instance: AccessAttempt, **kwargs: Any) -> None:
    """Keep nothing of the form, which axes adds to the row at each failure."""
    instance.get_data = instance.post_data = ""


def network(request: HttpRequest) -> str | None:
    """Return whose failures count together: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ip_address(client_address(request))
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)


def seconds_locked(request: Any) -> int:
    """Return after how many seconds whoever has been locked out can log in, at the latest."""
    attempts = AccessAttempt.objects.filter(ip_address=request.axes_ip_address)
    last = attempts.aggregate(last=Max("attempt_time"))["last"] or timezone.now()
    left = last + settings.AXES_COOLOFF_TIME - timezone.now()
    return max(1, ceil(left.total_seconds()))
