"""The address of a client, also behind proxies."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the address from which the client came to the first of our proxies.

    Each proxy adds the address of whom it serves at the end of X-Forwarded-For, so that as many
    from the right are true as TRUSTED_PROXIES says; what stands before them is the client's own
    text. Without a peer, as on a Unix socket, it is "".
    """
    peer: str = request.META.get("REMOTE_ADDR", "")
    forwarded: str = request.META.get("HTTP_X_FORWARDED_FOR", "")
    hops = [hop.strip() for hop in forwarded.split(",")] + [peer]
    found = hops[-1 - min(settings.TRUSTED_PROXIES, len(hops) - 1)]
    try:
        ip_address(found)
    except ValueError:
        return peer
    return found
