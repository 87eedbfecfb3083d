// The list of files below the panel: made anew by the server when files have come.

const PARTS = ["#changelist-form", ".files-scope"];

// Fetch the page once more and show its list, with the same files selected.
export async function refresh() {
    const url = new URL(window.location.href);
    url.searchParams.delete("usage"); // counting takes long, and the link to it is there
    const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok || answer.redirected) {
        return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const selector of PARTS) {
        const [before, after] = [document, page].map((each) => each.querySelector(selector));
        if (before && after) {
            replace(before, document.adoptNode(after));
        }
    }
}

function replace(before, after) {
    const focused = before.contains(document.activeElement) && selectorOf(document.activeElement);
    for (const field of before.querySelectorAll("input:checked, select, .select-across")) {
        const same = after.querySelector(selectorOf(field));
        if (same) {
            Object.assign(same, { checked: field.checked, value: field.value });
        }
    }
    before.replaceWith(after);
    listen(after);
    after.querySelector(focused || "none")?.focus();
}

// Return what finds the same element in another page.
function selectorOf(element) {
    const names = element.matches("select") ? ["name"] : ["id", "name", "value", "href"];
    const found = names.filter((name) => element.hasAttribute(name));
    const attributes = found.map((name) => `[${name}="${CSS.escape(element.getAttribute(name))}"]`);
    return element.localName + attributes.join("");
}

// Let Django's script listen to the new boxes, and count and mark those that are checked.
function listen(list) {
    const boxes = list.querySelectorAll("tr input.action-select");
    if (boxes.length) {
        window.Actions(boxes);
        for (const box of list.querySelectorAll("tr input.action-select:checked")) {
            box.dispatchEvent(new Event("change", { bubbles: true }));
        }
    }
}
