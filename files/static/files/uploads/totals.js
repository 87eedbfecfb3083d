// How far all uploads are, how fast it goes, and how long it takes.

import { duration, fill, size } from "./format.js";

const WINDOW = 10_000; // milliseconds, by which the speed is told
const LEAST = 2000; // milliseconds, without which it would be a guess
const MOST = 24 * 3600; // seconds: what takes longer has hardly begun

// Uploads that have all bytes to send, or had.
const COUNTED = ["waiting", "running", "storing", "paused", "done"];

// Bytes that have been sent, and how fast.
export class Meter {
    constructor() {
        this.reset();
    }

    reset() {
        this.sent = 0;
        this.samples = [];
    }

    // Note bytes that have been sent; less than none where a request is repeated.
    add(bytes) {
        this.sent += Math.max(0, bytes);
    }

    // Return bytes per second, 0 where that is not known yet.
    speed() {
        const now = performance.now();
        this.samples = this.samples.filter(([time]) => now - time <= WINDOW);
        this.samples.push([now, this.sent]);
        const [time, sent] = this.samples[0];
        return now - time >= LEAST ? ((this.sent - sent) * 1000) / (now - time) : 0;
    }
}

function sum(uploads, name) {
    return uploads.reduce((total, upload) => total + upload[name], 0);
}

// Return which share of all has been sent, what there is to say of it, and whether to say it.
export function totals(uploads, meter, { texts, units }) {
    const all = uploads.filter(({ isCounted, state }) => isCounted && COUNTED.includes(state));
    const done = all.filter(({ state }) => state === "done").length;
    const [sent, bytes] = [sum(all, "loaded"), sum(all, "size")];
    const values = { sent: size(sent, units), size: size(bytes, units), done, files: all.length };
    const told = [fill(texts.total, values)];
    const going = all.filter(({ state }) => state !== "paused");
    const left = sum(going, "size") - sum(going, "loaded");
    const speed = meter.speed();
    if (speed && left) {
        told.push(fill(texts.speed, { size: size(speed, units) }));
    }
    if (speed && left && left / speed < MOST) {
        told.push(fill(texts.left, { time: duration(left / speed) }));
    }
    const isShown = done < all.length;
    return { share: bytes ? sent / bytes : 0, text: told.join(" · "), isShown };
}
