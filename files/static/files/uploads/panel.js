// The panel above the list: what is chosen, what goes on, and what somebody has to decide.

import { listenToDrops, pickedFiles, sift } from "./choosing.js";
import { fill } from "./format.js";
import { Parts } from "./parts.js";
import { Server } from "./server.js";
import { Store } from "./store.js";
import { Meter } from "./totals.js";
import { ACTIVE, OVER, Upload } from "./upload.js";
import { View } from "./view.js";

const FILES = 2; // at a time

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
        listenToDrops(async (dropped) => {
            try {
                this.add(await dropped);
            } catch {
                this.leftOut.textContent = this.texts.unreadable;
            }
        });
        window.addEventListener("beforeunload", (event) => {
            if (this.active().length) {
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
        const broken = this.uploads.filter(({ state }) => state === "unfinished");
        for (const { file, path, handle } of files) {
            this.addOne(broken, file, this.config.folder + path, handle);
        }
        this.next();
    }

    // Count anew: what has ended before is no part of what goes on now.
    start() {
        this.meter.reset();
        for (const upload of this.uploads) {
            upload.isCounted = false;
        }
    }

    // What was broken off goes on with the same file, and anything else is new.
    addOne(broken, file, key, handle) {
        const same = broken.find((upload) => upload.key === key && upload.parts.looksLike(file));
        if (same) {
            same.take(file);
        } else {
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
        const waiting = this.uploads.filter(({ state }) => state === "waiting");
        const running = this.active().length - waiting.length;
        for (const upload of waiting.slice(0, Math.max(0, FILES - running))) {
            upload.run().then(() => this.next());
        }
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
