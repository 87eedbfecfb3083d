"""Pages of S3's listing, as servers write them."""

import pytest

from files.storage import listing

OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;abc-2&quot;</ETag>{}<Size>12</Size>{}<StorageClass>GLACIER</StorageClass></Contents>"
)
OF_CEPH = OBJECT.replace("</Contents>", "<Type>Normal</Type></Contents>")
CHECKSUM = (
    "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
)
OTHERS = {
    "an entity": OBJECT.format("a&amp;b", "", ""),
    "an owner": OBJECT.format("a", "", "<Owner><ID>x</ID></Owner>"),
    "another order": "<Contents><Size>1</Size><Key>a</Key><ETag>e</ETag><LastModified/></Contents>",
    "white space": OBJECT.format("a", "\n  ", ""),
    "folders between": (
        OBJECT.format("a", "", "")
        + "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"
        + OBJECT.format("c", "", "")
    ),
}


def page(objects, is_encoded=True):
    """Return what is listed of these objects, and whether a parser of XML was needed for them."""
    encoding = "<EncodingType>url</EncodingType>" if is_encoded else ""
    body = (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name>{encoding}<IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    ).encode()
    contents = listing._contents_of(body)
    return listing._parse("", body, 0), listing._as_aws_writes(contents) is None


@pytest.mark.parametrize("is_encoded", [True, False])
@pytest.mark.parametrize("key", ["a", "a%20b", "a+b", "%C3%A9", "%00", "%22%27%3C", "a//./b", "é"])
def test_what_aws_and_ceph_write_is_read_as_by_a_parser_of_xml(key, is_encoded, monkeypatch):
    objects = OBJECT.format(key, CHECKSUM, "") + OF_CEPH.format(f"{key}2", "", "")
    found, is_slow = page(objects, is_encoded)
    monkeypatch.setattr(listing, "_as_aws_writes", lambda contents: None)
    assert (found, is_slow) == (page(objects, is_encoded)[0], False)
    assert len(found.entries) == 2
    assert found.entries[0][1:5] == (12, '"abc-2"', "2026-11-01T00:00:00.000Z", "GLACIER")


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_written_otherwise_is_read_by_a_parser_of_xml(name):
    found, is_slow = page(OTHERS[name])
    assert is_slow
    assert [entry.key for entry in found.entries] == {
        "an entity": ["a&b"],
        "folders between": ["a", "c"],
    }.get(name, ["a"])


def test_no_objects_are_an_empty_page():
    assert page("")[0] == ([], [], "", b"")
