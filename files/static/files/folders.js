// Text fields for a folder: completed from the catalogue as one types, and told from new ones.

const PAUSE = 150; // milliseconds without a key, before the server is asked

function complete(field) {
    const list = document.createElement("datalist");
    const note = document.createElement("div");
    let asked = 0;
    list.id = `${field.id}_folders`;
    note.className = "help files-note";
    note.setAttribute("role", "status");
    field.setAttribute("list", list.id);
    field.after(list);
    field.closest(".form-row").append(note);

    const ask = async () => {
        asked += 1;
        const mine = asked;
        const query = new URLSearchParams({ folder: field.value });
        const answer = await fetch(`${field.dataset.folders}?${query}`);
        if (answer.ok && mine === asked) {
            const { folders, is_new: isNew } = await answer.json();
            list.replaceChildren(...folders.map((folder) => new Option("", folder)));
            note.textContent = isNew ? field.dataset.new : "";
        }
    };
    const suggest = () => ask().catch(() => undefined); // it is typed without help then
    let soon;
    field.addEventListener("input", () => {
        clearTimeout(soon);
        soon = setTimeout(suggest, PAUSE);
    });
    suggest();
}

for (const field of document.querySelectorAll("input[data-folders]")) {
    complete(field);
}
