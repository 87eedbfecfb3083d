// Tells the server in which zone this browser is, so that its pages show times there.

const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
const secure = location.protocol === "https:" ? "; Secure" : "";

if (timeZone) {
    // biome-ignore lint/suspicious/noDocumentCookie: the newer interface is for HTTPS alone
    document.cookie = `timezone=${timeZone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}
