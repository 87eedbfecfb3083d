// What people read: keys, sizes, durations.

const LANGUAGE = document.documentElement.lang || undefined;
const LIMITS = { second: 60, minute: 60, hour: Number.POSITIVE_INFINITY }; // of the next unit

// Return the key with all of its characters to be seen, as the server shows it (`files.keys`).
export function visible(key) {
    const unseen = /(?![ \u3000])[\p{Cc}\p{Z}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu;
    const unseenSpace = /(?<![^/ \u3000])[ \u3000]|[ \u3000](?![^/ \u3000])/g;
    const name = (character) => {
        const code = character.codePointAt(0);
        if (code < 0x20) {
            return String.fromCodePoint(0x2400 + code);
        }
        const hex = code.toString(16).toUpperCase().padStart(4, "0");
        return { " ": "␣", "\x7f": "␡" }[character] ?? `[U+${hex}]`;
    };
    return key.replace(unseenSpace, name).replace(unseen, name);
}

// Return the text with the values in place of their names: "%(done)s of %(all)s".
export function fill(text, values) {
    return text.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}

// Return the key with a number behind its name: "a/b (2).txt".
export function numbered(key, number) {
    const [, stem, extension = ""] = /^(.*?[^/]|.*)(\.[^./]*)?$/s.exec(key);
    return `${stem} (${number})${extension}`;
}

// Return a number of bytes by the units of Django's `filesizeformat`: of one byte, then of more.
export function size(bytes, [one, ...units]) {
    let power = 0;
    let value = Math.round(bytes);
    // What would be shown as 1,024.0 is one of the next unit.
    while (Math.round(value * 10) / 10 >= 1024 && power < units.length - 1) {
        power += 1;
        value /= 1024;
    }
    const digits = power ? 1 : 0;
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    const unit = power === 0 && value === 1 ? one : units[power];
    return `${value.toLocaleString(LANGUAGE, options)}\u00a0${unit}`;
}

// Return a duration in its largest unit: nobody knows it better.
export function duration(seconds) {
    let value = Math.max(1, seconds);
    for (const [unit, limit] of Object.entries(LIMITS)) {
        const shown = Math.round(value);
        if (shown < limit) {
            return shown.toLocaleString(LANGUAGE, { style: "unit", unit, unitDisplay: "short" });
        }
        value /= limit;
    }
}
