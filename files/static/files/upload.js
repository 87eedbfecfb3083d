// Uploads on the list of files: small files through Django, large ones straight to S3, in parts.
// The server decides which; both look alike here.

const FILES = 2; // at a time
const PARTS = 3; // of a file at a time
const TRIES = 4; // for each request
const FINISH_TRIES = 8; // for the last, in two minutes: all parts are there
const LOGGED_OUT = 401;
const GONE = 410; // the status of an upload that is over

const UNDER_WAY = ["waiting", "under-way"]; // states of long work
const LOOK = 2000; // milliseconds between two looks at it
const CONFLICT = "urn:problem-type:files:conflict"; // somebody works on the file, or we do still

// What the server says is wrong, by a problem document (RFC 9457).
class RefusedError extends Error {
    constructor(problem, status) {
        super(problem.detail);
        this.taken = Boolean(problem.taken);
        this.replaceable = Boolean(problem.replaceable);
        this.status = status;
        this.final = status < 500 && problem.type !== CONFLICT;
    }
}

// Send a request whose progress shows; resolve with its status and text.
function send(method, url, body, headers, signal, onProgress) {
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
async function withRetries(signal, action, tries = TRIES) {
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

// Return the key with all of its characters to be seen, as the server shows it (`files.keys`).
function visible(key) {
    const unseen = /(?![ \u3000])[\p{Cc}\p{Z}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu;
    const unseenSpace = /(?<![^/ ]) | (?![^/ ])/g;
    return key.replace(unseenSpace, "␣").replace(unseen, (character) => {
        const code = character.codePointAt(0);
        if (code < 0x20) {
            return String.fromCodePoint(0x2400 + code);
        }
        const hex = code.toString(16).toUpperCase().padStart(4, "0");
        return code === 0x7f ? "␡" : `[U+${hex}]`;
    });
}

async function sha256(blob) {
    const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
    return btoa(String.fromCharCode(...new Uint8Array(digest)));
}

function button(text, label, onClick) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "button";
    element.textContent = text;
    element.setAttribute("aria-label", label);
    element.addEventListener("click", onClick);
    return element;
}

class Upload {
    constructor(panel, file, key) {
        this.panel = panel;
        this.file = file;
        this.key = key;
        this.replace = false;
        this.ticket = null;
        this.state = "waiting";
        this.row = document.createElement("li");
        this.name = document.createElement("span");
        this.name.className = "files-name";
        this.bar = document.createElement("progress");
        this.bar.max = Math.max(file.size, 1);
        this.percent = document.createElement("span");
        this.percent.className = "files-percent";
        this.percent.setAttribute("aria-hidden", "true"); // the bar has the number too
        this.status = document.createElement("span");
        this.status.setAttribute("role", "status");
        this.buttons = document.createElement("span");
        this.row.append(this.name, this.bar, this.percent, this.status, this.buttons);
        this.show("waiting", panel.texts.waiting);
    }

    show(state, text, buttons = []) {
        this.state = state;
        this.row.dataset.state = state;
        this.name.textContent = visible(this.key);
        this.bar.setAttribute("aria-label", this.key);
        this.percent.textContent = "";
        this.status.textContent = text;
        this.status.className = state === "failed" || state === "taken" ? "files-failed" : "";
        const { cancel } = this.panel.texts;
        const all = ["waiting", "running", "taken"].includes(state)
            ? [...buttons, [cancel, () => this.cancel()]]
            : buttons;
        const hadFocus = this.buttons.contains(document.activeElement);
        this.buttons.replaceChildren(
            ...all.map(([label, onClick]) => button(label, `${label}: ${this.key}`, onClick)),
        );
        if (hadFocus) {
            this.buttons.querySelector("button")?.focus();
        }
        this.panel.summarize();
    }

    async run() {
        const { texts } = this.panel;
        this.controller = new AbortController();
        this.failure = null;
        this.bar.value = 0;
        this.show("running", "");
        try {
            const stored = await this.transfer(this.controller.signal);
            this.ticket = null;
            this.bar.value = this.bar.max;
            this.show("done", texts.done);
            const link = document.createElement("a");
            link.href = this.panel.config.page.replace("/0/", `/${stored.id}/`);
            link.textContent = visible(stored.key);
            this.name.replaceChildren(link);
        } catch (error) {
            this.controller.abort(); // the other parts
            this.abort();
            if (error.name === "AbortError") {
                this.show("canceled", texts.canceled, [[texts.retry, () => this.again()]]);
            } else if (error.taken) {
                this.ask(error);
            } else {
                const text = error instanceof RefusedError ? error.message : texts.failed;
                this.show("failed", text, [[texts.retry, () => this.again()]]);
            }
        }
    }

    async transfer(signal) {
        const { addresses } = this.panel.config;
        const { file, key, replace } = this;
        // Checksums can be made in secure contexts alone: https, or localhost.
        const direct = window.isSecureContext;
        const asked = { key, size: file.size, type: file.type, direct, replace };
        const plan = await this.panel.post(addresses.begin, asked, signal);
        if (!plan.direct) {
            const query = new URLSearchParams({ key, replace });
            const url = `${addresses.files}?${query}`;
            return this.panel.send("POST", url, file, {}, signal, (loaded) =>
                this.progress(loaded),
            );
        }
        this.ticket = plan.ticket;
        const sha256 = await this.parts(plan, signal);
        // From here on the server goes on, also when the page is left.
        this.ticket = null;
        this.show("storing", this.panel.texts.storing);
        try {
            const finished = { ticket: plan.ticket, sha256 };
            const finish = () => this.finish(finished, signal);
            return await withRetries(signal, finish, FINISH_TRIES);
        } catch (error) {
            this.ticket = plan.ticket;
            throw error;
        }
    }

    // Take the last step: again after long work, as that tells only what failed.
    async finish(finished, signal) {
        try {
            const { addresses } = this.panel.config;
            const stored = await this.panel.post(addresses.finish, finished, signal);
            if (!stored.work) {
                return stored;
            }
            // Its path alone, as a proxy may have hidden by which scheme this page came.
            await this.panel.ended(new URL(stored.work).pathname, signal);
        } catch (error) {
            if (error.status === GONE && this.failure) {
                this.failure.final = true; // it has ended the upload
            } else {
                this.failure = error;
            }
            throw this.failure;
        }
        return this.finish(finished, signal);
    }

    // Send the parts, some at a time; return their checksums in order.
    async parts({ ticket, part_size: partSize }, signal) {
        const count = Math.ceil(this.file.size / partSize);
        const digests = new Array(count);
        const loaded = new Array(count).fill(0);
        let next = 0;
        const worker = async () => {
            while (next < count) {
                const index = next;
                next += 1;
                const blob = this.file.slice(index * partSize, (index + 1) * partSize);
                digests[index] = await sha256(blob);
                await withRetries(signal, () =>
                    this.part(ticket, index + 1, digests[index], blob, signal, (bytes) => {
                        loaded[index] = bytes;
                        this.progress(loaded.reduce((sum, value) => sum + value));
                    }),
                );
            }
        };
        await Promise.all(Array.from({ length: PARTS }, worker));
        return digests;
    }

    async part(ticket, number, digest, blob, signal, onProgress) {
        const asked = { ticket, number, sha256: digest };
        const signed = await this.panel.post(this.panel.config.addresses.parts, asked, signal);
        const { status } = await send("PUT", signed.url, blob, signed.headers, signal, onProgress);
        if (status !== 200) {
            throw new Error(`S3: ${status}`);
        }
    }

    progress(loaded) {
        if (this.state !== "running") {
            return;
        }
        this.bar.value = Math.min(loaded, this.file.size);
        this.percent.textContent = `${Math.floor((100 * this.bar.value) / this.bar.max)} %`;
    }

    // The key is taken: nothing is overwritten before somebody says so.
    ask({ message, replaceable }) {
        const { texts } = this.panel;
        const choices = [[texts.rename, () => this.rename()]];
        if (replaceable) {
            choices.unshift([texts.replace, () => this.again({ replace: true })]);
        }
        this.show("taken", message, choices);
    }

    rename() {
        const key = window.prompt(this.panel.texts.key, this.key);
        if (key) {
            this.again({ key });
        }
    }

    again(changes = {}) {
        Object.assign(this, changes);
        this.show("waiting", this.panel.texts.waiting);
        this.panel.next();
    }

    cancel() {
        if (this.state === "running") {
            this.controller.abort();
        } else {
            const { canceled, retry } = this.panel.texts;
            this.show("canceled", canceled, [[retry, () => this.again()]]);
        }
    }

    // Throw the parts away, also when the page is left.
    abort() {
        if (this.ticket) {
            const { addresses } = this.panel.config;
            const body = JSON.stringify({ ticket: this.ticket });
            const headers = this.panel.headers();
            fetch(addresses.abort, { method: "POST", body, headers, keepalive: true }).catch(
                () => undefined, // then it is thrown away when uploads are swept
            );
            this.ticket = null;
        }
    }
}

class Panel {
    constructor(element) {
        this.config = JSON.parse(document.getElementById("files-upload-config").textContent);
        this.texts = this.config.texts;
        this.list = element.querySelector("ul");
        this.done = element.querySelector(".files-done");
        this.uploads = [];
        const input = element.querySelector("input");
        input.addEventListener("change", () => {
            this.add([...input.files].map((file) => [file, file.name]));
            input.value = "";
        });
        this.listen();
        element.hidden = false;
    }

    listen() {
        const isDrag = (event) => event.dataTransfer?.types.includes("Files");
        const drag = (event) => {
            if (isDrag(event)) {
                event.preventDefault();
                document.body.classList.add("files-dragging");
            }
        };
        document.addEventListener("dragenter", drag);
        document.addEventListener("dragover", drag);
        document.addEventListener("dragleave", (event) => {
            if (!event.relatedTarget) {
                document.body.classList.remove("files-dragging");
            }
        });
        document.addEventListener("drop", async (event) => {
            if (isDrag(event)) {
                event.preventDefault();
                document.body.classList.remove("files-dragging");
                try {
                    this.add(await droppedFiles(event.dataTransfer));
                } catch {
                    this.done.textContent = this.texts.unreadable;
                }
            }
        });
        window.addEventListener("beforeunload", (event) => {
            if (this.active().length) {
                event.preventDefault();
            }
        });
        window.addEventListener("pagehide", () => {
            for (const upload of this.uploads) {
                upload.abort();
            }
        });
    }

    add(files) {
        for (const [file, name] of files) {
            const upload = new Upload(this, file, this.config.folder + name);
            this.uploads.push(upload);
            this.list.append(upload.row);
        }
        this.next();
    }

    active() {
        const states = ["waiting", "running", "storing"];
        return this.uploads.filter(({ state }) => states.includes(state));
    }

    next() {
        const waiting = this.uploads.filter(({ state }) => state === "waiting");
        const running = this.active().length - waiting.length;
        for (const upload of waiting.slice(0, FILES - running)) {
            upload.run().then(() => this.next());
        }
    }

    summarize() {
        const count = this.uploads.filter(({ state }) => state === "done").length;
        if (count && !this.active().length) {
            const refresh = document.createElement("a");
            refresh.href = "";
            refresh.textContent = this.texts.refresh;
            this.done.replaceChildren(`${this.texts.uploaded} ${count}. `, refresh);
        } else {
            this.done.replaceChildren();
        }
    }

    // The token of this moment: a login in another tab has changed it.
    get token() {
        const name = `${this.config.cookie}=`;
        const found = document.cookie.split("; ").find((cookie) => cookie.startsWith(name));
        return found?.slice(name.length) ?? "";
    }

    headers() {
        return { "Content-Type": "application/json", "X-CSRFToken": this.token };
    }

    post(url, data, signal) {
        return this.send("POST", url, JSON.stringify(data), this.headers(), signal);
    }

    // Ask the server; a body that is a file brings its type. Throws what is refused.
    async send(method, url, body, headers, signal, onProgress) {
        const sent = { "X-CSRFToken": this.token, ...headers };
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
            throw new RefusedError({ detail: failure.text }, 502);
        }
    }

    read(status, text) {
        if (status === LOGGED_OUT) {
            throw new RefusedError({ detail: this.texts.loggedOut }, status);
        }
        let answer;
        try {
            answer = JSON.parse(text);
        } catch {
            throw new RefusedError({ detail: `${this.texts.failed} (${status})` }, status);
        }
        if (status >= 300) {
            throw new RefusedError(answer, status);
        }
        return answer;
    }
}

// Return the files of a drop, each with its path: those in folders too.
async function droppedFiles(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const found = await Promise.all(entries.map((entry) => filesOf(entry)));
    return found.flat();
}

async function filesOf(entry) {
    if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        return [[file, entry.fullPath.slice(1)]];
    }
    const reader = entry.createReader();
    const found = [];
    for (;;) {
        const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!batch.length) {
            return found;
        }
        found.push(...(await Promise.all(batch.map((inner) => filesOf(inner)))).flat());
    }
}

const element = document.getElementById("files-upload");
if (element) {
    new Panel(element);
}
