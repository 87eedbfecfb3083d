// One file on its way: what state it is in, and what can be done about it.

import { pick } from "./choosing.js";
import { fill, numbered, size } from "./format.js";
import { Parts } from "./parts.js";
import { RefusedError } from "./server.js";

const KEYS = 100; // that are tried to keep both

// States that wait for somebody to decide.
export const UNDECIDED = ["taken", "unfinished"];
// States in which it goes on by itself, and those in which nothing more happens.
export const ACTIVE = ["waiting", "running", "storing"];
export const OVER = ["done", "canceled", "skipped"];

// An upload of one file, whole or in parts, from its choice to its end.
export class Upload {
    // `given` has `file` and `key`, or `parts` of an upload that was broken off.
    constructor(panel, given) {
        this.panel = panel;
        this.file = null;
        this.parts = null;
        Object.assign(this, given);
        this.size = this.file?.size ?? this.parts.about.size;
        this.wanted = this.key; // to keep both, it gets a number
        this.number = 1;
        this.policy = null;
        this.replace = false;
        this.loaded = 0;
        this.choices = [];
        this.stored = null;
        this.holder = null; // the id of the file that has the key
    }

    static unfinished(panel, parts) {
        const upload = new Upload(panel, { parts, key: parts.about.key, batch: panel.batch });
        upload.replace = parts.about.replace;
        upload.loaded = parts.sent;
        if (parts.isComplete) {
            upload.wait(); // the last step is the server's alone
        } else {
            upload.offer();
        }
        return upload;
    }

    show(state, text, choices = []) {
        this.state = state;
        this.text = text;
        this.choices = choices;
        this.panel.changed();
    }

    wait() {
        const { texts } = this.panel;
        this.isCounted = true;
        this.show("waiting", texts.waiting, [[texts.cancel, () => this.cancel()]]);
    }

    async run() {
        this.controller = new AbortController();
        this.stopping = null;
        this.going("");
        try {
            this.stored = await this.transfer(this.controller.signal);
            this.parts = null;
            this.loaded = this.size;
            this.panel.view.hasNew = true;
            this.show("done", this.panel.texts.done);
        } catch (error) {
            this.controller.abort(); // the other parts
            this.stop(error);
        }
    }

    going(text) {
        const { texts } = this.panel;
        const pause = [texts.pause, () => this.interrupt("pause")];
        const cancel = [texts.cancel, () => this.interrupt("cancel")];
        this.show("running", text, this.parts ? [pause, cancel] : [cancel]);
    }

    interrupt(why) {
        this.stopping = why;
        this.controller.abort();
    }

    async transfer(signal) {
        if (this.parts) {
            try {
                return await this.sendParts(signal, "");
            } catch (error) {
                if (!error.over || !this.file) {
                    throw error;
                }
                this.drop();
            }
            return this.begin(signal, this.panel.texts.anew);
        }
        return this.begin(signal, "");
    }

    async begin(signal, text) {
        const { server, store, config } = this.panel;
        const { file, key, replace } = this;
        this.loaded = 0;
        // Checksums can be made in secure contexts alone: https, or localhost.
        const direct = window.isSecureContext;
        const asked = { key, size: file.size, type: file.type, direct, replace };
        const plan = await server.ask("begin", asked, signal);
        if (!plan.direct) {
            return this.sendWhole(signal);
        }
        const { ticket, part_size: partSize } = plan;
        const about = { ticket, partSize, user: config.user, key, replace };
        about.handle = await this.handle;
        this.parts = await Parts.begin(server, store, file, about);
        return this.sendParts(signal, text);
    }

    sendWhole(signal) {
        const { server } = this.panel;
        const query = new URLSearchParams({ key: this.key, replace: this.replace });
        const url = `${server.addresses.files}?${query}`;
        const note = (bytes) => this.progress(Math.min(bytes, this.size));
        return server.send("POST", url, this.file, {}, signal, note);
    }

    sendParts(signal, text) {
        const { parts, panel, file } = this;
        return parts.alone(async () => {
            if (!parts.isComplete) {
                this.going(parts.sent ? panel.texts.comparing : text);
                await parts.compare(file, signal);
                this.loaded = parts.sent;
                this.going(text);
                await parts.send(file, signal, (bytes) => this.progress(bytes));
            }
            // From here on the server goes on, also when the page is left.
            this.show("storing", panel.texts.storing);
            const stored = await parts.finish(signal);
            await parts.forget(); // before another tab may look for it
            return stored;
        });
    }

    progress(bytes) {
        this.panel.meter.add(bytes - this.loaded);
        this.loaded = bytes;
    }

    // Keep what can go on later, and ask somebody where the key is taken.
    stop(error) {
        const { texts } = this.panel;
        if (error.name === "AbortError" && this.stopping === "pause") {
            this.pause();
        } else if (error.name === "AbortError") {
            this.cancel();
        } else if (error.taken && this.file) {
            const why = error.inTrash ? texts.inTrash : error.message;
            const text = this.parts ? `${why} ${texts.sentAgain}` : why;
            this.drop();
            this.holder = error.holder;
            this.ask(text, error.replaceable);
        } else {
            if (error.ends) {
                this.drop();
            }
            const retry = [texts.retry, () => this.again()];
            const cancel = [texts.cancel, () => this.cancel()];
            const choices = this.file || this.parts ? [retry, cancel] : [];
            this.show("failed", this.why(error), choices);
        }
    }

    why(error) {
        if (error instanceof RefusedError) {
            return error.message;
        }
        console.error(error); // it may be a fault of ours, too
        return this.panel.texts.lost;
    }

    pause() {
        const { texts } = this.panel;
        const resume = [texts.resume, () => this.again()];
        this.loaded = this.parts.sent; // the parts under way are sent again
        this.show("paused", texts.paused, [resume, [texts.cancel, () => this.cancel()]]);
    }

    // The key is taken: nothing is overwritten before somebody says so.
    ask(text, replaceable) {
        const { texts } = this.panel;
        this.replaceable = replaceable && !this.replace;
        if (this.decide(this.policy ?? this.batch.policy)) {
            return;
        }
        const names = this.replaceable ? ["replace", "keep"] : ["keep"];
        const choices = names.map((name) => [texts[name], () => this.decide(name)]);
        const rename = [texts.rename, () => this.rename()];
        this.show("taken", text, [...choices, rename, [texts.skip, () => this.skip()]]);
    }

    // Do as somebody has decided, for this file or for all; return whether that can be done.
    decide(policy) {
        if (policy === "replace" && this.replaceable) {
            this.again({ replace: true });
        } else if (policy === "keep" && this.number < KEYS) {
            this.number += 1;
            this.again({ policy, key: numbered(this.wanted, this.number) });
        } else if (policy === "skip") {
            this.skip();
        } else {
            return false;
        }
        return true;
    }

    rename() {
        const typed = window.prompt(this.panel.texts.key, this.key);
        if (typed) {
            const key = typed.endsWith("/") ? typed + this.file.name : typed; // it means the folder
            this.again({ key, wanted: key, number: 1, policy: null });
        }
    }

    again(changes = {}) {
        Object.assign(this, changes);
        this.wait();
        this.panel.next();
    }

    cancel() {
        const { texts } = this.panel;
        this.drop();
        this.show("canceled", texts.canceled, this.file ? [[texts.retry, () => this.again()]] : []);
    }

    skip() {
        this.drop();
        this.show("skipped", this.panel.texts.skipped);
    }

    // Throw away what has been sent, unless another tab goes on with it.
    drop() {
        const { parts } = this;
        this.parts = null;
        parts?.alone(() => parts.drop()).catch(() => undefined);
    }

    // An upload that was broken off goes on with the same file.
    offer(text = "") {
        const { texts, units } = this.panel.config;
        const { parts } = this;
        const values = { sent: size(parts.sent, units), size: size(this.size, units) };
        const goOn = [texts.goOn, () => this.goOn()];
        const cancel = [texts.cancel, () => this.cancel()];
        const told = [text, fill(texts.unfinished, values)].filter(Boolean).join(" ");
        this.show("unfinished", told, [goOn, cancel]);
    }

    async goOn() {
        if (this.parts.isComplete) {
            this.again();
        } else {
            const file = (await this.parts.reopened()) ?? (await pick());
            await (file && this.take(file));
        }
    }

    async take(file) {
        const { parts } = this;
        const { texts } = this.panel;
        let known = "other";
        let why = texts.other;
        try {
            known = await parts.alone(() => parts.known(file));
        } catch (error) {
            why = error.message;
        }
        if (this.state !== "unfinished") {
            return; // it goes on since
        }
        if (known === "ended") {
            this.parts = null;
            this.show("canceled", texts.ended);
        } else if (known === "same") {
            this.again({ file });
        } else {
            this.offer(why);
        }
    }
}
