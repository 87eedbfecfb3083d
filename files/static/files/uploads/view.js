// What people see of the panel: a row for each upload, and what there is to say of all.

import { fill } from "./format.js";
import { refresh } from "./list.js";
import { button, Row } from "./row.js";
import { totals } from "./totals.js";
import { OVER, UNDECIDED } from "./upload.js";

const ROWS = 50; // that are shown: thousands would make the page slow
const TICK = 500; // milliseconds between two looks at the progress
const CALM = 1000; // milliseconds without news, before those who only hear the page are told
const FRESH = 10_000; // milliseconds that the list may be behind
const POLICIES = ["replace", "keep", "skip"];

// The order of the rows: first what waits for somebody, and of the same what was chosen last.
const ORDER = [UNDECIDED, ["running", "storing", "paused"], ["failed"], ["waiting"], OVER];

function ordered(uploads) {
    return ORDER.flatMap((states) => {
        const found = uploads.filter(({ state }) => states.includes(state));
        const isTurn = states.includes("waiting"); // the first is the next
        return isTurn ? found : found.sort((a, b) => b.batch.number - a.batch.number);
    });
}

// The elements of the panel, which show its uploads.
export class View {
    constructor(panel, element) {
        this.panel = panel;
        this.rows = new Map();
        this.hasNew = false; // files that the list does not show
        this.freshAt = -FRESH;
        const part = (name) => element.querySelector(`.files-${name}`);
        this.list = element.querySelector("ul");
        this.total = part("total");
        this.bar = part("bar");
        this.numbers = part("numbers");
        this.policies = part("policies");
        this.clear = part("clear");
        this.done = part("done");
        this.more = part("more");
        this.cancel = part("cancel");
        this.clear.addEventListener("click", () => panel.clear());
        this.cancel.addEventListener("click", () => panel.cancel());
        this.choices = POLICIES.map((name) => {
            const text = panel.texts[`${name}All`];
            return button(text, text, () => panel.decide(name));
        });
        this.policies.append(...this.choices);
    }

    // Show soon what has changed, once for all that changes now.
    changed() {
        this.soon ??= setTimeout(() => {
            this.soon = null;
            this.render();
        });
    }

    render() {
        const isActive = this.panel.active().length > 0;
        this.renderRows();
        this.renderTotals();
        this.renderPolicies(isActive);
        this.tell(isActive);
        if (this.hasNew && (!isActive || performance.now() - this.freshAt > FRESH)) {
            this.renew();
        }
        if (isActive) {
            this.later ??= setTimeout(() => {
                this.later = null;
                this.render();
            }, TICK);
        }
    }

    // Show the first rows, with the focus where it was when their order changes.
    renderRows() {
        const { uploads, texts } = this.panel;
        const shown = ordered(uploads).slice(0, ROWS);
        this.rows = new Map(shown.map((upload) => [upload, this.rowOf(upload)]));
        const elements = [...this.rows.values()].map((row) => row.element);
        const { children } = this.list;
        if (
            elements.length !== children.length ||
            elements.some((row, at) => row !== children[at])
        ) {
            const focused = this.list.contains(document.activeElement) && document.activeElement;
            this.list.replaceChildren(...elements);
            focused?.focus?.({ preventScroll: true });
        }
        for (const row of this.rows.values()) {
            row.update();
        }
        const number = uploads.length - shown.length;
        this.more.textContent = number ? fill(texts.more, { number }) : "";
    }

    rowOf(upload) {
        return this.rows.get(upload) ?? new Row(upload, this.panel.config.page);
    }

    renderTotals() {
        const { uploads, meter, config } = this.panel;
        const { share, text, isShown } = totals(uploads, meter, config);
        this.total.hidden = !isShown;
        this.bar.value = share;
        this.numbers.textContent = text;
        this.cancel.hidden = this.panel.cancelable().length < 2;
        this.clear.hidden = !uploads.some(({ state }) => OVER.includes(state));
    }

    // Offer to decide for all once there are several, or may be.
    renderPolicies(isActive) {
        const taken = this.panel.taken();
        this.policies.hidden = taken.length < (isActive ? 1 : 2);
        this.choices[0].hidden = !taken.some(({ replaceable }) => replaceable);
    }

    // Say what has ended and what is to be decided, when nothing else has happened for a moment.
    tell(isActive) {
        const { uploads, texts } = this.panel;
        const isNow = ({ isCounted, state }) => isCounted || UNDECIDED.includes(state);
        const now = uploads.filter(isNow);
        const count = (wanted) => now.filter(({ state }) => state === wanted).length;
        const told = [];
        const note = (text, number) => number && told.push(fill(text, { number }));
        note(texts.taken, count("taken"));
        note(texts.broken, count("unfinished"));
        if (!isActive) {
            note(texts.uploaded, count("done"));
            note(texts.notUploaded, count("failed"));
            note(texts.notWanted, count("skipped"));
            note(texts.givenUp, count("canceled"));
            note(texts.stopped, count("paused"));
        }
        const text = told.join(" ");
        if (text !== this.telling) {
            this.telling = text;
            clearTimeout(this.calm);
            this.calm = setTimeout(() => {
                this.done.textContent = text;
            }, CALM);
        }
    }

    // Let the list below show what has come.
    renew() {
        this.hasNew = false;
        this.freshAt = performance.now();
        const last = this.renewing ?? Promise.resolve();
        this.renewing = last.then(refresh).catch(() => undefined); // it is no more than behind
    }
}
