// One file on its way: what state it is in, and what can be done about it.

import { isReadable, looksLike, pick } from "./choosing.js";
import { fill, numbered, size } from "./format.js";
import { RefusedError } from "./server.js";
import { transfer } from "./transfer.js";

const KEYS = 100; // that are tried to keep both

// States that wait for somebody to decide.
export const UNDECIDED = ["taken", "unfinished"];
// States in which it goes on by itself, and those in which nothing more happens.
export const ACTIVE = ["waiting", "running", "storing"];
export const OVER = ["done", "canceled", "skipped"];
// States from which it goes on with the same file, chosen again.
export const STOPPED = ["unfinished", "paused", "failed"];

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
        this.losses = 0; // outages that have broken it off
        this.isLost = false; // by the last one
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

    // Return whether this is the file, to be stored there, and it is not over.
    isFor(file, key) {
        const mine = this.file ?? this.parts?.about;
        return this.key === key && !OVER.includes(this.state) && mine && looksLike(mine, file);
    }

    show(state, text, choices = []) {
        this.isLost = false;
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
            this.stored = await transfer(this, this.controller.signal);
            this.parts = null;
            this.loaded = this.size;
            this.panel.view.hasNew = true;
            this.show("done", this.panel.texts.done);
        } catch (error) {
            this.controller.abort(); // the other parts
            await this.stop(error);
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

    progress(bytes) {
        this.panel.meter.add(bytes - this.loaded);
        this.loaded = bytes;
    }

    // Keep what can go on later, and ask somebody where the key is taken.
    async stop(error) {
        const { texts } = this.panel;
        const isRefused = error instanceof RefusedError;
        if (error.name === "AbortError") {
            await (this.stopping === "pause" ? this.pause() : this.cancel());
        } else if (error.taken && this.file) {
            const why = error.inTrash ? texts.inTrash : error.message;
            this.holder = error.holder;
            this.ask(this.loaded ? `${why} ${texts.sentAgain}` : why, error.replaceable);
        } else if (!isRefused && this.file && !(await isReadable(this.file))) {
            this.fail(texts.unread, ["choose"]);
        } else if (!isRefused || error.isOutage) {
            isRefused || console.error(error); // it may be a fault of ours, too
            this.lose(isRefused ? error.message : texts.lost);
        } else {
            const choices = this.file || this.parts ? ["retry"] : ["choose"];
            this.fail(
                error.message,
                error.isInvalid && this.file ? [...choices, "rename"] : choices,
            );
        }
    }

    // It failed; the choices may help, by the names of their texts.
    fail(text, choices) {
        const { texts } = this.panel;
        const acts = { retry: "again", choose: "choose", rename: "rename", cancel: "cancel" };
        const named = [...choices, "cancel"].map((name) => [texts[name], () => this[acts[name]]()]);
        this.show("failed", text, named);
    }

    // It failed, and will be tried again.
    lose(text) {
        this.fail(`${text} ${this.panel.texts.later}`, ["retry"]);
        this.losses += 1;
        this.isLost = true;
        this.panel.halt();
    }

    pause() {
        const { texts } = this.panel;
        const resume = [texts.resume, () => this.again()];
        this.loaded = this.parts?.sent ?? 0; // the parts under way are sent again
        this.show("paused", texts.paused, [resume, [texts.cancel, () => this.cancel()]]);
    }

    // The key is taken: nothing is overwritten before somebody says so.
    ask(text, replaceable) {
        const { texts } = this.panel;
        this.replaceable = replaceable && !this.replace;
        if (this.decide(this.policy ?? this.batch.policy)) {
            return;
        }
        const names = this.replaceable ? ["replace"] : [];
        if (this.number < KEYS) {
            names.push("keep");
        } else {
            this.key = this.wanted;
        }
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
            this.again({ policy, key: numbered(this.wanted, this.number), replace: false });
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
            this.again({ key, wanted: key, number: 1, policy: null, replace: false });
        }
    }

    // Begin anew with a file that somebody picks.
    async choose() {
        const file = await pick();
        if (file && (await this.drop())) {
            this.again({ file, size: file.size });
        }
    }

    again(changes = {}) {
        Object.assign(this, changes);
        this.wait();
        this.panel.retry();
    }

    async cancel() {
        const { texts } = this.panel;
        if (await this.drop()) {
            const retry = [texts.retry, () => this.again()];
            this.show("canceled", texts.canceled, this.file ? [retry] : []);
        }
    }

    skip() {
        this.show("skipped", this.panel.texts.skipped);
    }

    // Throw away what has been sent; return whether no other tab goes on with it.
    async drop() {
        const { state, choices } = this;
        this.state = "paused"; // so that it does not begin meanwhile
        try {
            await this.parts?.alone(() => this.parts.drop());
        } catch (error) {
            this.show(state, error.message, [...choices]);
            return false;
        }
        this.parts = null;
        return true;
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

    // See whether it goes on in this tab still.
    async look() {
        const isLeft = await this.parts.isLeft();
        if (this.state === "unfinished") {
            isLeft ? this.offer() : this.end();
        }
    }

    end() {
        this.parts = null;
        this.show("canceled", this.panel.texts.ended);
    }

    async take(file) {
        const { parts, state } = this;
        const { texts } = this.panel;
        if (!parts) {
            this.again({ file });
            return;
        }
        let known = "other";
        let why = texts.other;
        try {
            known = await parts.alone(() => parts.known(file));
        } catch (error) {
            why = error.message;
        }
        if (this.state !== state) {
            return; // it goes on since
        }
        if (known === "ended") {
            this.end();
        } else if (known === "same") {
            this.again({ file });
        } else {
            this.offer(why);
        }
    }
}
