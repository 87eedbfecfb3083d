// What the panel shows of one upload.

import { visible } from "./format.js";

const WRONG = ["failed", "taken"];

function element(name, className) {
    const made = document.createElement(name);
    made.className = className;
    return made;
}

// Return a button; the label tells it from others of the same text.
export function button(text, label, onClick) {
    const made = element("button", "button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", onClick);
    return made;
}

// The element of one upload in the list of the panel.
export class Row {
    constructor(upload, page) {
        this.upload = upload;
        this.page = page;
        this.element = element("li", "");
        this.element.tabIndex = -1; // it has the focus when its buttons have gone
        this.name = element("span", "files-name");
        this.bar = element("progress", "");
        this.percent = element("span", "files-percent");
        this.percent.setAttribute("aria-hidden", "true"); // the bar has the number too
        this.text = element("span", "");
        this.buttons = element("span", "files-buttons");
        this.element.append(this.name, this.bar, this.percent, this.text, this.buttons);
    }

    update() {
        this.progress();
        const { state, text, key, choices } = this.upload;
        if (this.choices === choices) {
            return; // nothing has happened but progress
        }
        this.choices = choices;
        this.element.dataset.state = state;
        this.bar.setAttribute("aria-label", visible(key));
        this.text.replaceChildren(text, ...this.holder());
        this.text.className = WRONG.includes(state) ? "files-text files-failed" : "files-text";
        this.name.replaceChildren(this.file() ?? visible(key));
        this.name.title = visible(key);
        this.offer(choices, key);
    }

    progress() {
        const { size, loaded, state } = this.upload;
        const share = size ? loaded / size : Number(state === "done");
        this.bar.value = share;
        this.percent.textContent = state === "running" ? `${Math.floor(100 * share)} %` : "";
    }

    file() {
        const { stored } = this.upload;
        return stored && this.link(stored.id, visible(stored.key));
    }

    // Return what leads to the file that has the key, where one may see it.
    holder() {
        const { state, holder, panel } = this.upload;
        const isTold = state === "taken" && holder;
        return isTold ? [" ", this.link(holder, panel.texts.show)] : [];
    }

    link(id, text) {
        const link = element("a", "");
        link.href = this.page.replace("/0/", `/${id}/`);
        link.textContent = text;
        return link;
    }

    offer(choices, key) {
        const hadFocus = this.element.contains(document.activeElement);
        const buttons = choices.map(([text, act]) => button(text, `${text}: ${visible(key)}`, act));
        this.buttons.replaceChildren(...buttons);
        if (hadFocus && !this.element.contains(document.activeElement)) {
            (buttons[0] ?? this.element).focus();
        }
    }
}
