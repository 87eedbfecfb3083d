"""What the settings show of themselves, and how they behave."""

import copy

import pytest
from django.conf import settings
from django.utils.crypto import salted_hmac

from tests.processes import manage


@pytest.mark.parametrize("options", [[], ["--all"], ["--output=unified"]])
def test_diffsettings_shows_the_settings_without_what_is_secret(options):
    done = manage("diffsettings", *options)
    shown = done.stdout.decode()
    assert (done.stderr, done.returncode) == (b"", 0)
    assert "SECRET_KEY = '********'" in shown
    assert "'PASSWORD': '********'" in shown
    assert settings.SECRET_KEY not in shown
    assert str(settings.DATABASES["default"]["PASSWORD"]) not in shown


def test_former_keys_are_not_shown():
    done = manage("diffsettings", environ={"APP_SECRET_KEY_FALLBACKS": "former, older"})
    shown = done.stdout.decode()
    assert "SECRET_KEY_FALLBACKS = ['********', '********']" in shown


def test_what_is_hidden_is_the_string_to_everything_else():
    hidden, plain = settings.SECRET_KEY, str(settings.SECRET_KEY)
    assert type(plain) is str
    assert (f"{hidden}", hidden.encode(), copy.deepcopy(hidden)) == (plain, plain.encode(), plain)
    signed = [salted_hmac("salt", "x", key, algorithm="sha256") for key in (None, plain)]
    assert signed[0].digest() == signed[1].digest()
