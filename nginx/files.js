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

// What nginx says itself, in the form and the words of the application: a browser shows the sentence,
// a program gets a problem document. The location has set $object_kind and $object_sentence.
function asksForHtml(r) {
    const kinds = (r.headersIn.Accept || "").split(",");
    return kinds.some(
        (kind) => /^\s*text\/html\s*(;|$)/i.test(kind) && !/;\s*q=0[.0]*\s*$/.test(kind),
    );
}

function refusal(r) {
    const kind = r.variables.object_kind;
    const title = kind[0].toUpperCase() + kind.slice(1).replace(/-/g, " ");
    const sentence = r.variables.object_sentence;
    return asksForHtml(r)
        ? sentence
        : `{"type": "urn:problem-type:files:${kind}", "title": "${title}", ` +
              `"status": ${r.variables.status}, "detail": "${sentence}"}`;
}

function describeRefusal(r) {
    if (!asksForHtml(r)) {
        r.headersOut["Content-Type"] = "application/problem+json";
    }
    const vary = r.variables.object_vary;
    r.variables.object_vary = vary ? `Accept, ${vary}` : "Accept";
}

export default { describeRefusal, keepHeadersOfContent, refusal };
