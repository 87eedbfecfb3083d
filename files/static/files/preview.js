// Keys of the page of a preview: its links name theirs.

addEventListener("keydown", (event) => {
    const isHeld = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    // The browser's own players take arrows, and so does a box that scrolls.
    const isTaken = event.key !== "Escape" && event.target.closest("audio, video, [role=region]");
    if (!isHeld && !isTaken) {
        document.querySelector(`[aria-keyshortcuts="${CSS.escape(event.key)}"]`)?.click();
    }
});
