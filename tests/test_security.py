"""What keeps a site in production from being read, framed, scripted or signed for by others."""

import os

import pytest
import urllib3
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import override_settings

from files.delivery.headers import POLICY
from project import csp
from tests.processes import manage

HOST = {"Host": "files.example.com"}
TLS = HOST | {"X-Forwarded-Proto": "https"}
KEY = "a-key-of-nobody-of-at-least-fifty-characters-in-all"


@pytest.fixture
def site(serve, static):
    """Return what asks the production server, with the settings that README.md recommends."""
    url = serve(
        APP_ALLOWED_HOSTS=HOST["Host"],
        APP_DEBUG="false",
        APP_HSTS_SECONDS="31536000",
        APP_PROXY_SSL_HEADER="X-Forwarded-Proto",
        APP_SECRET_KEY=KEY,
        APP_SECRET_KEY_FALLBACKS=f"older {os.environ['APP_SECRET_KEY']}",
        APP_SSL_REDIRECT="true",
        APP_STATIC_ROOT=static,
    )
    return lambda path, headers, **options: urllib3.request(
        "GET", url + path, headers=headers, redirect=False, **options
    )


def policy(**more):
    """Return the policy of pages, with more sources for some of its directives."""
    names = ["default-src", "base-uri", "connect-src", "form-action", "frame-ancestors"]
    names += ["frame-src", "img-src", "media-src", "script-src", "style-src"]
    none = {"default-src", "base-uri", "frame-ancestors"}
    sources = {name: "'none'" if name in none else "'self'" for name in names}
    for name, source in more.items():
        sources[name.replace("_", "-")] += f" {source}"
    return "; ".join(f"{name} {source}" for name, source in sources.items())


def test_a_page_comes_by_tls_alone(site):
    plain, by_tls = site("/login/?a=b", HOST), site("/login/?a=b", TLS)
    assert (plain.status, plain.headers["Location"]) == (
        301,
        "https://files.example.com/login/?a=b",
    )
    assert "Strict-Transport-Security" not in plain.headers
    assert (by_tls.status, by_tls.headers["Strict-Transport-Security"]) == (200, "max-age=31536000")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_load_balancer_asks_without_tls(site, path):
    assert site(path, {"Host": "10.0.0.1"}).status == 200


def test_cookies_are_for_this_host_alone(site):
    (cookie,) = site("/login/", TLS).headers.getlist("Set-Cookie")
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-csrftoken=")
    assert [part for part in attributes if not part.startswith(("expires", "Max-Age"))] == [
        "Path=/",
        "SameSite=Lax",
        "Secure",
    ]


@pytest.mark.parametrize("path", ["/login/", "/admin/nothing/", "/files/999999/", "/none"])
def test_a_page_loads_from_the_site_and_sends_to_the_bucket(site, path):
    wanted = policy(connect_src=default_storage.objects.origin)
    assert site(path, TLS).headers["Content-Security-Policy"] == wanted


def test_redirected_contents_may_come_from_the_bucket(settings):
    settings.DELIVERY = "redirect"
    sources = dict.fromkeys(["connect_src", "frame_src", "img_src", "media_src"], "https://s3.test")
    assert csp._policy("https://s3.test") == policy(**sources)


def test_a_content_keeps_its_own_policy(make_file, viewer):
    response = viewer.get(f"/files/{make_file('a.txt').pk}/")
    response.close()
    assert response.headers["Content-Security-Policy"] == POLICY


@pytest.mark.parametrize(("status", "has_one"), [(200, True), (404, False), (500, False)])
def test_pages_for_developers_have_no_policy(rf, status, has_one):
    middleware = csp.ContentSecurityPolicyMiddleware(lambda request: HttpResponse(status=status))
    with override_settings(DEBUG=True):
        assert ("Content-Security-Policy" in middleware(rf.get("/")).headers) is has_one


def test_a_session_outlives_a_new_key(site, make_file, viewer):
    path, session = f"/files/{make_file().pk}/", viewer.cookies["sessionid"].value
    assert site(path, TLS | {"Cookie": f"__Host-sessionid={session}"}).status == 200
    assert site(path, TLS | {"Cookie": f"sessionid={session}"}).status == 401


@pytest.mark.parametrize("key", ["a" * 49, "ab" * 30, f"django-insecure-{KEY}"])
def test_a_key_that_can_be_guessed_ends_the_start(key):
    done = manage("check", environ={"APP_DEBUG": "false", "APP_SECRET_KEY": key})
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (1, b"")
    assert line.endswith(
        "APP_SECRET_KEY can be guessed: set 50 or more random characters, such as `openssl rand"
        " -base64 48` prints."
    )
    assert key not in line
