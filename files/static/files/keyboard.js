// Keys on the admin's pages: "/" leads to the search, and long names are shown to who goes there.

const TYPING = "input:not([type=checkbox], [type=submit], [type=button]), textarea, select";
const CUT =
    "#content h1, .breadcrumbs a, .breadcrumbs [aria-current]," +
    "#content-main form li, #content-main .field-key .readonly, #result_list .field-key a," +
    "#change-history td:last-child";

function leadsToSearch(event) {
    const isPlain = event.key === "/" && !(event.ctrlKey || event.altKey || event.metaKey);
    return isPlain && !event.isComposing && !event.target.closest(TYPING);
}

document.addEventListener("keydown", (event) => {
    const search = document.getElementById("searchbar");
    if (search && leadsToSearch(event)) {
        event.preventDefault();
        search.focus();
        search.select();
    }
});

function isCut({ scrollHeight, scrollWidth, clientHeight, clientWidth }) {
    return scrollHeight > clientHeight + 1 || scrollWidth > clientWidth + 1;
}

// What CSS cuts: its title shows the rest to the mouse, its focus to fingers and the keyboard.
for (const element of document.querySelectorAll(CUT)) {
    if ([element, ...element.querySelectorAll(".files-path")].some(isCut)) {
        element.title = element.textContent.trim();
        element.tabIndex = 0;
    }
}
