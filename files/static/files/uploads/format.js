// What people read: keys, sizes, durations.

const LANGUAGE = document.documentElement.lang || undefined;
const SECONDS = { hour: 3600, minute: 60, second: 1 };

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

// Return a number of bytes as Django's `filesizeformat` does, by its units, the smallest first.
export function size(bytes, units) {
    let power = 0;
    while (bytes >= 1024 ** (power + 1) && power < units.length - 1) {
        power += 1;
    }
    const digits = power ? 1 : 0;
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    const number = (bytes / 1024 ** power).toLocaleString(LANGUAGE, options);
    return `${number}\u00a0${units[power]}`;
}

// Return a duration in its largest unit: nobody knows it better.
export function duration(seconds) {
    const whole = Math.max(1, Math.round(seconds));
    const unit = Object.keys(SECONDS).find((name) => whole >= SECONDS[name]);
    const options = { style: "unit", unit, unitDisplay: "short" };
    return Math.round(whole / SECONDS[unit]).toLocaleString(LANGUAGE, options);
}
