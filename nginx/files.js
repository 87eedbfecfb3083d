// What of S3's answer is for the client. All else stays inside: metadata, keys of KMS, CORS, ids.
const OF_CONTENT = [
    "accept-ranges",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
];

function keepHeadersOfContent(r) {
    for (const name in r.headersOut) {
        if (!OF_CONTENT.includes(name.toLowerCase())) {
            delete r.headersOut[name];
        }
    }
}

export default { keepHeadersOfContent };
