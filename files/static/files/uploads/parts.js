// A file that goes to S3 in parts, each with its SHA-256: it goes on where it was broken off.

import { looksLike } from "./choosing.js";
import { RefusedError, send, withRetries } from "./server.js";

const PARTS = 3; // at a time
const FINISH_TRIES = 8; // for the last step, in two minutes: all parts are there

async function sha256(blob) {
    const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
    return btoa(String.fromCharCode(...new Uint8Array(digest)));
}

// The parts of one file: which have been sent, and how the others are.
export class Parts {
    // `about` is what the browser keeps.
    constructor(server, store, about) {
        this.server = server;
        this.store = store;
        this.about = about;
        this.digests = new Map(); // of the parts that have been sent, by their numbers
        this.count = Math.ceil(about.size / about.partSize);
    }

    static async begin(server, store, file, about) {
        const { name, size, lastModified } = file;
        const first = await sha256(file.slice(0, about.partSize));
        const kept = { ...about, name, size, lastModified, first, since: Date.now() };
        if (!(await store.keep(kept))) {
            await store.keep({ ...kept, handle: undefined }); // not each browser keeps them
        }
        return new Parts(server, store, kept);
    }

    // Return those that a user has begun and that have not ended. Forget whatever is too old, in
    // seconds: its user may not come back to this browser.
    static async kept(server, store, user, maxAge) {
        const found = await store.all();
        const isOld = ({ since }) => Date.now() - since > maxAge * 1000;
        await Promise.all(found.filter(isOld).map(({ ticket }) => store.forget(ticket)));
        return found
            .filter((about) => about.user === user && !isOld(about))
            .map((about) => new Parts(server, store, about));
    }

    get isComplete() {
        return this.digests.size === this.count;
    }

    get sent() {
        return [...this.digests.keys()].reduce((sum, number) => sum + this.length(number), 0);
    }

    length(number) {
        const { size, partSize } = this.about;
        return Math.min(partSize, size - (number - 1) * partSize);
    }

    slice(file, number) {
        const { partSize } = this.about;
        return file.slice((number - 1) * partSize, number * partSize);
    }

    // Return whether the file is the "same", or an "other" one, or the upload has "ended".
    async known(file) {
        if (!(await this.isLeft())) {
            return "ended";
        }
        const isSame = async () => (await sha256(this.slice(file, 1))) === this.about.first;
        return looksLike(file, this.about) && (await isSame()) ? "same" : "other";
    }

    // Do what no other tab may do with this upload meanwhile.
    async alone(action) {
        const run = async (lock) => {
            if (!lock) {
                throw new RefusedError({ detail: this.server.texts.elsewhere });
            }
            return action();
        };
        return navigator.locks.request(this.about.ticket, { ifAvailable: true }, run);
    }

    // Wait until no other tab sends it.
    free() {
        return navigator.locks.request(this.about.ticket, () => undefined);
    }

    // Return whether it has not ended in another tab, which may have sent more of it.
    async isLeft() {
        this.digests = await this.store.digests(this.about.ticket);
        return this.store.has(this.about.ticket);
    }

    // Return the file, where the browser can read it again and its user agrees.
    async reopened() {
        const { handle } = this.about;
        this.about.handle = undefined; // where it fails, the next time is for a picker
        try {
            const answer = await handle?.requestPermission({ mode: "read" });
            return answer === "granted" ? await handle.getFile() : undefined;
        } catch {
            return undefined;
        }
    }

    // Find out which parts of this file S3 has: by the digests that S3 lists, or that were noted.
    async compare(file, signal) {
        const { ticket } = this.about;
        const ask = () => this.server.ask("state", { ticket }, signal);
        const { parts } = await withRetries(signal, ask);
        const found = new Map();
        for (const { number, size, sha256: listed } of parts) {
            signal.throwIfAborted();
            const digest = await sha256(this.slice(file, number));
            if (size === this.length(number) && (listed ?? this.digests.get(number)) === digest) {
                found.set(number, digest);
            }
        }
        // What is noted of all parts is finished without the file: of no other content, then.
        const wrong = [...this.digests.keys()].filter((number) => !found.has(number));
        this.digests = found;
        await Promise.all(wrong.map((number) => this.store.forgetPart(ticket, number)));
    }

    // Send what is missing, some at a time; `onProgress` gets the bytes that are there.
    async send(file, signal, onProgress) {
        const numbers = Array.from({ length: this.count }, (_, index) => index + 1);
        const missing = numbers.filter((number) => !this.digests.has(number));
        const loaded = new Map(); // of the parts under way
        let done = this.sent;
        const progress = () => onProgress([...loaded.values()].reduce((a, b) => a + b, done));
        const worker = async () => {
            while (missing.length) {
                const number = missing.shift();
                const blob = this.slice(file, number);
                const digest = number === 1 ? this.about.first : await sha256(blob);
                const note = (bytes) => progress(loaded.set(number, bytes));
                await withRetries(signal, () => this.put(number, digest, blob, signal, note));
                loaded.delete(number);
                done += blob.size;
                this.digests.set(number, digest);
                await this.store.keepPart(this.about.ticket, number, digest);
            }
        };
        progress();
        await Promise.all(Array.from({ length: PARTS }, worker));
    }

    async put(number, digest, blob, signal, onProgress) {
        const asked = { ticket: this.about.ticket, number, sha256: digest };
        const signed = await this.server.ask("parts", asked, signal);
        const { status } = await send("PUT", signed.url, blob, signed.headers, signal, onProgress);
        if (status !== 200) {
            const detail = `${this.server.texts.failed} (S3: ${status})`;
            throw new RefusedError({ detail }, status);
        }
    }

    // Let the server make the file of the parts.
    finish(signal) {
        const digests = [...this.digests].sort(([a], [b]) => a - b).map(([, digest]) => digest);
        const finished = { ticket: this.about.ticket, sha256: digests };
        const last = { failure: null };
        return withRetries(signal, () => this.finishOnce(finished, signal, last), FINISH_TRIES);
    }

    // Take the last step: again after long work, as that tells only what failed.
    async finishOnce(finished, signal, last) {
        try {
            const stored = await this.server.ask("finish", finished, signal);
            if (!stored.work) {
                return stored;
            }
            // Its path alone, as a proxy may have hidden by which scheme this page came.
            await this.server.ended(new URL(stored.work).pathname, signal);
        } catch (error) {
            if (error.over && last.failure) {
                last.failure.final = true; // it has ended the upload
                last.failure.ends = true;
            } else {
                last.failure = error;
            }
            throw last.failure;
        }
        return this.finishOnce(finished, signal, last);
    }

    forget() {
        return this.store.forget(this.about.ticket);
    }

    drop() {
        this.server.abort(this.about.ticket);
        return this.forget();
    }
}
