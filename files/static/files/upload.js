// Uploads on the list of files: small files through Django, large ones straight to S3, in parts.
// The server decides which; both look alike here.

import { Panel } from "./uploads/panel.js";

const element = document.getElementById("files-upload");
if (element) {
    new Panel(element, JSON.parse(document.getElementById("files-upload-config").textContent));
}
