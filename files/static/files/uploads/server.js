// Requests: to the server, which says in a problem document (RFC 9457) what is wrong, and to S3.

const TRIES = 4; // for each request
const LOGGED_OUT = 401;
const GONE = 410;
const UNDER_WAY = ["waiting", "under-way"]; // states of long work
const LOOK = 2000; // milliseconds between two looks at it
const OURS = "urn:problem-type:files:";
const CONFLICT = `${OURS}conflict`; // somebody works on the file, or we do still
const IN_TRASH = `${OURS}in-trash`;
const PASSING = [408, 429];
const JSON_BODY = { "Content-Type": "application/json" };
const ENDING = [400, 409, GONE, 413]; // after which no upload can go on

// What the server refuses, or with no status what the page does. An answer with no problem of ours
// is of a proxy, say, and passes.
export class RefusedError extends Error {
    constructor(problem, status = 0) {
        super(problem.detail);
        this.taken = Boolean(problem.taken);
        this.replaceable = Boolean(problem.replaceable);
        this.inTrash = problem.type === IN_TRASH;
        this.holder = problem.file; // which has the key
        const isOurs = String(problem.type).startsWith(OURS) && problem.type !== CONFLICT;
        const isFinal = isOurs && status < 500 && !PASSING.includes(status);
        this.final = isFinal || [0, LOGGED_OUT].includes(status);
        this.ends = isOurs && ENDING.includes(status); // what has been sent is of no use any more
        this.over = isOurs && status === GONE;
        this.isInvalid = isOurs && status === 400;
        this.isOutage = status >= 500 || [LOGGED_OUT, ...PASSING].includes(status);
    }
}

// Send a request whose progress shows; resolve with its status and text.
export function send(method, url, body, headers, signal, onProgress) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open(method, url);
        for (const [name, value] of Object.entries(headers)) {
            request.setRequestHeader(name, value);
        }
        request.upload.onprogress = (event) => onProgress?.(event.loaded);
        request.onload = () => resolve({ status: request.status, text: request.responseText });
        request.onerror = () => reject(new Error("network"));
        const abort = () => request.abort();
        signal.addEventListener("abort", abort, { once: true });
        request.onloadend = () => signal.removeEventListener("abort", abort);
        request.onabort = () => reject(new DOMException("", "AbortError"));
        if (signal.aborted) {
            reject(new DOMException("", "AbortError"));
        } else {
            request.send(body);
        }
    });
}

// Repeat what the network or S3 has failed, each time after a longer pause.
export async function withRetries(signal, action, tries = TRIES) {
    for (let attempt = 1; ; attempt += 1) {
        try {
            return await action();
        } catch (error) {
            if (signal.aborted || error.final || attempt === tries) {
                throw error;
            }
            await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
        }
    }
}

// The steps of the API, asked with the session of the page.
export class Server {
    constructor({ addresses, cookie, texts, user }) {
        this.user = user;
        this.addresses = addresses;
        this.cookie = cookie;
        this.texts = texts;
    }

    // The token of this moment: a login in another tab has changed it.
    get token() {
        const name = `${this.cookie}=`;
        const found = document.cookie.split("; ").find((cookie) => cookie.startsWith(name));
        return found?.slice(name.length) ?? "";
    }

    // What is sent is for the user of the page alone, whoever has logged in since.
    headers() {
        return { "X-CSRFToken": this.token, "X-User-ID": this.user };
    }

    // Ask for a step of an upload, by its name. Throws what is refused.
    ask(step, data, signal) {
        const url = this.addresses[step];
        return this.send("POST", url, JSON.stringify(data), JSON_BODY, signal);
    }

    // Ask the server; a body that is a file brings its type. Throws what is refused.
    async send(method, url, body, headers, signal, onProgress) {
        const sent = { ...this.headers(), ...headers };
        const { status, text } = await send(method, url, body, sent, signal, onProgress);
        return this.read(status, text);
    }

    // Wait for long work. Throws what failed.
    async ended(url, signal) {
        let work;
        do {
            await new Promise((resolve) => setTimeout(resolve, LOOK));
            work = await withRetries(signal, () => this.send("GET", url, null, {}, signal));
        } while (UNDER_WAY.includes(work.state));
        const failure = work.messages.find(({ level }) => level === "error");
        if (failure) {
            const refused = new RefusedError({ detail: failure.text }, 502);
            throw Object.assign(refused, { isOutage: false }); // the server is there
        }
    }

    read(status, text) {
        if (status === LOGGED_OUT) {
            throw new RefusedError({ detail: this.texts.loggedOut }, status);
        }
        let answer = null;
        try {
            answer = JSON.parse(text);
        } catch {
            // It is told below, by its status.
        }
        if (!answer || status >= 300) {
            const detail = `${this.texts.failed} (${status})`;
            throw new RefusedError({ detail, ...answer }, status);
        }
        return answer;
    }

    // Throw the parts of an upload away, also when the page is left meanwhile.
    abort(ticket) {
        const body = JSON.stringify({ ticket });
        const headers = { ...this.headers(), ...JSON_BODY };
        const options = { method: "POST", body, headers, keepalive: true };
        fetch(this.addresses.abort, options).catch(
            () => undefined, // then it is thrown away when uploads are swept
        );
    }
}
