"""What each S3 server is trusted for."""

import re

import pytest
import urllib3

from files.storage.probe import PROMISES, QUICK, probe
from tests import location, s3_servers
from tests.test_readme import README

# What is the bucket's or the machine's, and not the server's.
OTHERS = {*QUICK, "versions"}
NAMES = [name for name in PROMISES if name not in OTHERS]

# The promises that each server does not keep.
BROKEN = {
    "MiniStack": {"If-Range", "conditional copies", "tags of uploads"},
    "LocalStack": {
        "credentials",
        "presigned URLs",
        "exact keys",
        "pages of listings",
        "pages of uploads",
        "If-Range",
        "conditional deletes",
        "conditional copies",
        "conditional sources",
    },
    "moto": {
        "credentials",
        "presigned URLs",
        "exact keys",
        "pages of listings",
        "If-Range",
        "conditional completions",
        "conditional copies",
        "conditional sources",
        "checksums",
        "checksums of parts",
    },
    "SeaweedFS": {
        "exact keys",
        "order of listings",
        "pages of listings",
        "pages of uploads",
        "If-Range",
        "archived objects",
        "checksums of parts",
    },
    "radosgw": {
        "exact keys",
        "pages of listings",
        "If-Range",
        "archived objects",
        "conditional puts",
        "conditional completions",
        "conditional deletes",
        "conditional copies",
        "conditional sources",
        "whole copies",
        "tags of uploads",
        "checksums",
        "checksums of parts",
    },
}


def broken(storage):
    """Return what the server does not keep, each with its detail."""
    found = probe(storage, NAMES)
    assert [result for result in found if result.kept is None] == []
    return {result.promise.name: result.detail for result in found if not result.kept}


def test_the_server_of_the_run_keeps_what_it_is_trusted_for(own_services, storage, pytestconfig):
    name = pytestconfig.option.services
    if name not in BROKEN:
        health = f"{storage.client.meta.endpoint_url}/_ministack/health"
        is_ministack = urllib3.request("GET", health).status == 200
        name = "MiniStack" if is_ministack else "LocalStack"
    found = broken(storage)
    assert set(found) == BROKEN[name], found


@pytest.mark.parametrize("name", s3_servers.SERVERS)
def test_another_server_keeps_what_it_is_trusted_for(storage, name):
    with s3_servers.SERVERS[name]() as environ:
        place = {"endpoint_url": environ["AWS_ENDPOINT_URL_S3"]}
        found = broken(location.alike(storage, **place))
    assert set(found) == BROKEN[name], found


def table():
    header = ["promise", "needed", *BROKEN]
    rows = [
        [
            f"{name}: {PROMISES[name].text}",
            "yes" if PROMISES[name].is_needed else "",
            *("no" if name in promises else "yes" for promises in BROKEN.values()),
        ]
        for name in NAMES
    ]
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def test_readme_has_the_table():
    section = README.split("\n## S3 servers\n")[1].split("\n## ")[0]
    found = "".join(re.findall(r"^\|.*\n", section, re.MULTILINE))
    assert found == table()
