"""`manage.py bucket_cors`: what it prints and writes."""

import json

import pytest
from django.core.management import CommandError, call_command

SITE, OTHER = "https://files.example.com", "https://other.example.com:8443"
READS = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}


def rule(*origins):
    headers = ["x-amz-checksum-sha256"]
    return {"AllowedMethods": ["PUT"], "AllowedOrigins": [*origins], "AllowedHeaders": headers}


@pytest.fixture
def bucket_rules(own_services, storage, settings):
    """Let the bucket have one rule, for reads; return what tells those that it has now."""
    client, place = storage.client, {"Bucket": storage.bucket_name}
    own = client.get_bucket_cors(**place)["CORSRules"]
    client.put_bucket_cors(**place, CORSConfiguration={"CORSRules": [READS]})
    settings.CSRF_TRUSTED_ORIGINS = [SITE]
    yield lambda: storage.cors_rules()
    client.put_bucket_cors(**place, CORSConfiguration={"CORSRules": own})


@pytest.fixture
def run(bucket_rules, capsys):
    """Return what runs the command, and returns the rules that it prints and its error."""

    def run(*arguments):
        error = ""
        try:
            call_command("bucket_cors", *arguments)
        except CommandError as refusal:
            error = str(refusal)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()], error

    return run


def test_a_missing_rule_is_an_error_that_names_it(run, bucket_rules):
    text = f"Browsers may not send from {SITE}: repeat this with --set, which adds "
    assert run() == ([READS], f"{text}{json.dumps(rule(SITE))}.")
    assert bucket_rules() == [READS]


def test_a_missing_rule_is_added_to_the_others(run, bucket_rules):
    assert run("--set") == ([READS, rule(SITE)], "")
    assert bucket_rules() == [READS, rule(SITE)]
    assert run() == ([READS, rule(SITE)], "")


def test_a_rule_that_is_there_is_not_added_again(run, bucket_rules):
    run("--set")
    assert run("--set", SITE, OTHER) == ([READS, rule(SITE), rule(OTHER)], "")


def test_a_bucket_without_rules_gets_its_first(run, bucket_rules, storage):
    storage.client.delete_bucket_cors(Bucket=storage.bucket_name)
    assert run("--set") == ([rule(SITE)], "")
    assert bucket_rules() == [rule(SITE)]


@pytest.mark.parametrize("origin", ["files.example.com", f"{SITE}/", f"{SITE}/admin", "*", "null"])
def test_what_no_browser_sends_is_refused(run, bucket_rules, origin):
    text = f"{origin!r} is no origin: write it as https://files.example.com."
    assert run("--set", origin) == ([], text)
    assert bucket_rules() == [READS]


def test_a_site_without_a_name_is_asked_for_one(run, settings):
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = [], ["*"]
    assert run()[1].startswith("No setting names the origin of the site: set APP_CSRF_TRUSTED_")
