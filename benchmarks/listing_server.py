"""An S3 server that has a bucket of so many objects, and can list it and nothing else."""

import sys
from bisect import bisect_right
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "data/{:08}.bin"
ETAG = '"{:032x}"'
WRITTEN = "2026-11-01T00:00:00.000Z"
SIZE = 1000  # bytes, at most

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult'
    ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
)
OBJECT = (
    f"<Contents><Key>{KEY}</Key><LastModified>{WRITTEN}</LastModified><ETag>"
    + ETAG.replace('"', "&quot;")
    + "</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT"
    "</ChecksumType><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Handler(BaseHTTPRequestHandler):
    """Answers ListObjectsV2, and all else as an empty bucket does."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    objects = 0

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        first = int(query.get("continuation-token", 0)) or _after(query.get("start-after", ""))
        end = _after(query.get("prefix", "") + chr(sys.maxunicode))
        first = max(first, _after(query.get("prefix", "")))
        last = min(end, first + int(query.get("max-keys", 1000)))
        listed = _listed(first, last)
        more = f"<NextContinuationToken>{last}</NextContinuationToken>"
        is_more = last < end
        body = (
            f"{HEAD}<IsTruncated>{str(is_more).lower()}</IsTruncated>{more if is_more else ''}"
            f"{listed}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@lru_cache(64)  # a page is asked for once more, before its rows are committed
def _listed(first: int, last: int) -> str:
    return "".join([OBJECT.format(n, n, n % SIZE) for n in range(first, last)])


def _after(key: str) -> int:
    """Return the number of the first object behind the key."""
    return bisect_right(range(Handler.objects), key, key=KEY.format)


if __name__ == "__main__":
    Handler.objects = int(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
