// The panel above the list: what is chosen, what goes on, and what somebody has to decide.

import { listenToDrops, pickedFiles, sift } from "./choosing.js";
import { fill } from "./format.js";
import { Parts } from "./parts.js";
import { Server } from "./server.js";
import { Store } from "./store.js";
import { Meter } from "./totals.js";
import { ACTIVE, OVER, STOPPED, Upload } from "./upload.js";
import { View } from "./view.js";

const FILES = 2; // at a time
const LATER = 30_000; // milliseconds, before what an outage has broken off is tried again
const CANCELABLE = ["waiting", "running", "paused", "failed"];

// All uploads of the page, and what is done to each.
export class Panel {
    constructor(element, config) {
        this.config = config;
        this.texts = config.texts;
        this.server = new Server(config);
        this.store = new Store();
        this.meter = new Meter();
        this.view = new View(this, element);
        this.uploads = [];
        this.isHalted = false;
        this.batch = { number: 0, policy: null }; // what is chosen at once
        this.input = element.querySelector("input");
        this.leftOut = element.querySelector(".files-left-out");
        this.listen(element);
        element.hidden = false;
        if (window.isSecureContext) {
            this.resume();
        }
    }

    listen(element) {
        for (const input of element.querySelectorAll("input")) {
            input.addEventListener("change", () => {
                this.add(pickedFiles(input));
                input.value = "";
            });
        }
        window.addEventListener("online", () => this.retry());
        document.addEventListener("visibilitychange", () => this.look());
        listenToDrops(async (dropped) => {
            try {
                this.add(await dropped);
            } catch {
                this.leftOut.textContent = this.texts.unreadable;
            }
        });
        window.addEventListener("beforeunload", (event) => {
            if (this.active().length || this.uploads.some(({ isLost }) => isLost)) {
                event.preventDefault();
            }
        });
    }

    add(chosen) {
        const [files, litter] = sift(chosen);
        const names = counted(litter);
        this.leftOut.textContent = names && fill(this.texts.leftOut, { names });
        if (!this.active().length) {
            this.start();
        }
        this.batch = { number: this.batch.number + 1, policy: null };
        const before = [...this.uploads];
        for (const { file, path, handle } of files) {
            this.addOne(before, file, this.config.folder + path, handle);
        }
        this.retry();
    }

    // Count anew: what has ended before is no part of what goes on now.
    start() {
        this.meter.reset();
        for (const upload of this.uploads) {
            upload.isCounted = false;
        }
    }

    // What was broken off goes on with the same file, and what goes on does so once.
    addOne(before, file, key, handle) {
        const same = before.find((upload) => upload.isFor(file, key));
        if (same && STOPPED.includes(same.state)) {
            same.take(file);
        } else if (!same) {
            const upload = new Upload(this, { file, key, handle, batch: this.batch });
            this.uploads.push(upload);
            upload.wait();
        }
    }

    // Show what was broken off, once no other tab sends it.
    async resume() {
        const { user, maxAge } = this.config;
        for (const parts of await Parts.kept(this.server, this.store, user, maxAge)) {
            parts.free().then(() => this.offer(parts));
        }
    }

    async offer(parts) {
        if (await parts.isLeft()) {
            this.uploads.push(Upload.unfinished(this, parts));
            this.next();
        }
    }

    active() {
        return this.uploads.filter(({ state }) => ACTIVE.includes(state));
    }

    taken() {
        return this.uploads.filter(({ state }) => state === "taken");
    }

    next() {
        if (this.isHalted) {
            return;
        }
        const waiting = this.uploads.filter(({ state }) => state === "waiting");
        waiting.sort((a, b) => a.losses - b.losses); // so that none holds up all others
        const running = this.active().length - waiting.length;
        for (const upload of waiting.slice(0, Math.max(0, FILES - running))) {
            upload.run().then(() => this.next());
        }
    }

    // Begin nothing more in an outage: later all goes on by itself.
    halt() {
        this.isHalted = true;
        this.later ??= setTimeout(() => this.retry(), LATER);
    }

    retry() {
        clearTimeout(this.later);
        this.later = null;
        this.isHalted = false;
        for (const upload of this.uploads.filter(({ isLost }) => isLost)) {
            upload.wait();
        }
        this.next();
    }

    // Look again at what another tab may have ended.
    look() {
        for (const upload of this.uploads.filter(({ state }) => state === "unfinished")) {
            upload.look();
        }
    }

    // Return those that "Cancel all" is for.
    cancelable() {
        return this.uploads.filter(({ state }) => CANCELABLE.includes(state));
    }

    cancel() {
        for (const upload of this.cancelable()) {
            upload.state === "running" ? upload.interrupt("cancel") : upload.cancel();
        }
        this.input.focus();
    }

    // Decide for all keys that are taken, and for what was chosen with them.
    decide(policy) {
        for (const upload of this.taken()) {
            upload.batch.policy = policy;
            upload.decide(policy);
        }
        this.input.focus();
    }

    clear() {
        this.uploads = this.uploads.filter(({ state }) => !OVER.includes(state));
        this.input.focus();
        this.changed();
    }

    changed() {
        this.view.changed();
    }
}

// Return names with how often they are there: "a (2), b".
function counted(names) {
    const counts = new Map();
    for (const name of names) {
        counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const shown = ([name, count]) => (count > 1 ? `${name} (${count})` : name);
    return [...counts].map(shown).sort().join(", ");
}
