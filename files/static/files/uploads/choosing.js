// Files that somebody picks or drops, each with its path.

const LITTER = [".ds_store", "thumbs.db", "desktop.ini"]; // what systems leave in folders

// Return the files worth keeping, by their paths, and the names of those that are not.
export function sift(chosen) {
    const isLitter = ({ file }) => LITTER.includes(file.name.toLowerCase());
    const byPath = (a, b) => a.path.localeCompare(b.path);
    return [
        chosen.filter((each) => !isLitter(each)).sort(byPath),
        chosen.filter(isLitter).map(({ file }) => file.name),
    ];
}

// Return what an input of files has, in folders too.
export function pickedFiles(input) {
    return [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

// Return whether both may be the same file: what is in them, is compared elsewhere.
export function looksLike(one, other) {
    return ["name", "size", "lastModified"].every((name) => one[name] === other[name]);
}

// Return whether the file can be read still: not once it was changed or removed.
export async function isReadable(file) {
    try {
        await file.slice(0, 1).arrayBuffer();
        return true;
    } catch {
        return false;
    }
}

// Let somebody pick one file; resolve with none when that is given up.
export function pick() {
    const input = document.createElement("input");
    input.type = "file";
    return new Promise((resolve) => {
        input.addEventListener("change", () => resolve(input.files[0]));
        input.addEventListener("cancel", () => resolve(undefined));
        input.click();
    });
}

// Return the files of a drop: those in folders too.
export async function droppedFiles(transfer) {
    const items = [...transfer.items].filter(({ kind }) => kind === "file");
    // At once, as a drop is empty a moment later. With a handle a file is read after a reload.
    const entries = items.map((item) => [item.webkitGetAsEntry(), handleOf(item)]);
    const found = entries.filter(([entry]) => entry).map((each) => filesOf(...each));
    return (await Promise.all(found)).flat();
}

function handleOf(item) {
    return item.getAsFileSystemHandle?.().catch(() => undefined);
}

async function filesOf(entry, handle) {
    if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        return [{ file, path: entry.fullPath.slice(1), handle }];
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

// Mark the page while files are dragged over it, and give those that are dropped to `take`.
export function listenToDrops(take) {
    const mark = (isOn) => document.body.classList.toggle("files-dragging", isOn);
    const on = (name, act) =>
        document.addEventListener(name, (event) => {
            if (event.dataTransfer?.types.includes("Files")) {
                event.preventDefault();
                act(event);
            }
        });
    on("dragenter", () => mark(true));
    on("dragover", () => mark(true));
    on("drop", (event) => {
        mark(false);
        take(droppedFiles(event.dataTransfer));
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
}
