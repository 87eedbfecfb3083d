// Buttons that copy what is told of a file, exactly.

function copyByCommand(text) {
    const give = (event) => {
        event.clipboardData.setData("text/plain", text);
        event.preventDefault();
    };
    document.addEventListener("copy", give);
    const isCopied = document.execCommand("copy");
    document.removeEventListener("copy", give);
    return isCopied;
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text); // which is there by TLS and on localhost alone
        return true;
    } catch {
        return copyByCommand(text);
    }
}

for (const group of document.querySelectorAll(".files-copies")) {
    const status = group.querySelector("output");
    group.hidden = false;
    group.addEventListener("click", async ({ target }) => {
        if (target.dataset.copy) {
            const text = JSON.parse(target.dataset.copy);
            const isCopied = await copy(text);
            status.textContent = isCopied ? target.dataset.done : `${group.dataset.failed} ${text}`;
        }
    });
}
