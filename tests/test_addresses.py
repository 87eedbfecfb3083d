"""The client's address, behind so many proxies that are ours."""

import pytest

from project.addresses import client_address

PEER = "10.0.0.9"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.7", PEER),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first was made up
        (2, "198.51.100.1, 203.0.113.7 ,10.0.0.8", "203.0.113.7"),
        (1, "2001:DB8::1", "2001:db8::1"),
        (2, "203.0.113.7", PEER),  # it came past the first proxy
        (1, "", PEER),
        (1, "unknown", PEER),
        (1, "203.0.113.7\r\nX: y", PEER),
    ],
)
def test_the_address_is_what_our_first_proxy_has_seen(rf, settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    request = rf.get("/", REMOTE_ADDR=PEER, headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address


def test_the_address_is_who_has_connected_without_a_header(rf, settings):
    settings.TRUSTED_PROXIES = 1
    assert client_address(rf.get("/", REMOTE_ADDR=PEER)) == PEER
