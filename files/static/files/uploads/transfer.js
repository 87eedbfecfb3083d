// How the bytes of an upload go: whole through the server, or in parts to S3.

import { Parts } from "./parts.js";
import { withRetries } from "./server.js";

// Send the file, and resolve with what the server tells of it. Throws what stops it.
export async function transfer(upload, signal) {
    const { panel } = upload;
    if (!upload.parts) {
        return begin(upload, signal, "");
    }
    try {
        return await sendParts(upload, signal, "");
    } catch (error) {
        if (!error.over || !upload.file) {
            throw error;
        }
    }
    upload.going(panel.texts.anew);
    return begin(upload, signal, panel.texts.anew);
}

async function begin(upload, signal, text) {
    const { server, store, config } = upload.panel;
    const { file, key, replace } = upload;
    upload.loaded = 0;
    // Checksums can be made in secure contexts alone: https, or localhost.
    const direct = window.isSecureContext;
    const asked = { key, size: file.size, type: file.type, direct, replace };
    const plan = await withRetries(signal, () => server.ask("begin", asked, signal));
    if (!plan.direct) {
        return sendWhole(upload, signal);
    }
    const { ticket, part_size: partSize } = plan;
    const about = { ticket, partSize, user: config.user, key, replace };
    about.handle = await upload.handle;
    try {
        upload.parts = await Parts.begin(server, store, file, about);
    } catch (error) {
        server.abort(ticket); // the file cannot be read
        throw error;
    }
    return sendParts(upload, signal, text);
}

// A new file is stored once, also where an answer was lost.
function sendWhole(upload, signal) {
    const { server } = upload.panel;
    const query = new URLSearchParams({ key: upload.key, replace: upload.replace });
    const url = `${server.addresses.files}?${query}`;
    const note = (bytes) => upload.progress(Math.min(bytes, upload.size));
    return withRetries(signal, () => server.send("POST", url, upload.file, {}, signal, note));
}

function sendParts(upload, signal, text) {
    const { parts } = upload;
    return parts.alone(async () => {
        try {
            return await sendAlone(upload, signal, text);
        } catch (error) {
            if (error.ends || upload.stopping === "cancel") {
                await parts.drop(); // before another tab may look for it
                upload.parts = null;
            }
            throw error;
        }
    });
}

async function sendAlone(upload, signal, text) {
    const { parts, panel, file } = upload;
    if (!parts.isComplete) {
        upload.going(parts.sent ? panel.texts.comparing : text);
        await parts.compare(file, signal);
        upload.loaded = parts.sent;
        upload.going(text);
        await parts.send(file, signal, (bytes) => upload.progress(bytes));
    }
    // From here on the server goes on, also when the page is left.
    upload.show("storing", panel.texts.storing);
    const stored = await parts.finish(signal);
    await parts.forget(); // before another tab may look for it
    return stored;
}
