// Uploads in parts that have begun, kept in the browser (IndexedDB) to go on after a reload.
// Where the browser keeps nothing, or is full, uploads go on without it.

const NAME = "files-uploads";
const STORES = ["uploads", "parts"];

function settled(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}

function open() {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
        request.result.createObjectStore("uploads", { keyPath: "ticket" });
        request.result.createObjectStore("parts", { keyPath: ["ticket", "number"] });
    };
    return settled(request);
}

function partsOf(ticket) {
    return IDBKeyRange.bound([ticket], [ticket, []]); // arrays come after numbers
}

// What the browser keeps of all uploads in parts.
export class Store {
    // Do something with both stores; return what comes of it, undefined where nothing can be kept.
    async use(mode, action) {
        try {
            this.database ??= open();
            const transaction = (await this.database).transaction(STORES, mode);
            const [uploads, parts] = STORES.map((name) => transaction.objectStore(name));
            return await settled(action(uploads, parts));
        } catch {
            return undefined;
        }
    }

    keep(upload) {
        return this.use("readwrite", (uploads) => uploads.put(upload));
    }

    keepPart(ticket, number, digest) {
        return this.use("readwrite", (_, parts) => parts.put({ ticket, number, digest }));
    }

    forgetPart(ticket, number) {
        return this.use("readwrite", (_, parts) => parts.delete([ticket, number]));
    }

    forget(ticket) {
        return this.use("readwrite", (uploads, parts) => {
            parts.delete(partsOf(ticket));
            return uploads.delete(ticket);
        });
    }

    // Return the uploads of all users of the browser, the newest first.
    async all() {
        const found = (await this.use("readonly", (uploads) => uploads.getAll())) ?? [];
        return found.sort((a, b) => b.since - a.since);
    }

    // Return the SHA-256 of the parts that have been sent, by their numbers.
    async digests(ticket) {
        const read = (_, parts) => parts.getAll(partsOf(ticket));
        const found = (await this.use("readonly", read)) ?? [];
        return new Map(found.map(({ number, digest }) => [number, digest]));
    }

    // Return whether the upload is kept still: another tab may have ended it.
    async has(ticket) {
        return Boolean(await this.use("readonly", (uploads) => uploads.getKey(ticket)));
    }
}
