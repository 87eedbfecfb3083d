"""Sample files, made or drawn here: what the sandbox shows."""

import io
import math
import struct
import wave
import zlib
from collections.abc import Iterator

# The first is the original example's key, with its leading slash.
TEXT = "/root/text.txt"


def samples() -> Iterator[tuple[str, bytes]]:
    """Yield key and content of each sample."""
    yield TEXT, b"Hello from S3: the key of this text is in PostgreSQL.\n"
    yield "letters/world.txt", "Grüße, Καλημέρα, Привет, こんにちは, שלום, 😀\n".encode()
    yield "letters/notes.txt", b"Keys are kept byte for byte: /a and a are two files.\n" * 20
    yield "tables/planets.csv", _planets()
    yield "images/rings.png", _png(320, 200)
    yield "documents/page.pdf", _pdf("A page that this project wrote itself.")
    yield "sounds/chime.wav", _wav()
    yield "binary/counting.bin", bytes(range(256)) * 16


def _planets() -> bytes:
    rows = [
        ("planet", "radius_km", "day_h"),
        ("Mercury", 2440, 1408),
        ("Venus", 6052, 5832),
        ("Earth", 6371, 24),
        ("Mars", 3390, 25),
    ]
    return "".join(",".join(map(str, row)) + "\r\n" for row in rows).encode()


def _png(width: int, height: int) -> bytes:
    """Draw rings of colour: 8 bits for each of red, green, blue (PNG, third edition)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            wave_height = 0.5 + 0.5 * math.sin(math.hypot(x - width / 2, y - height / 2) / 8)
            rows += bytes((int(40 + 60 * wave_height), int(90 + 120 * wave_height), 160))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(rows)))
        + chunk(b"IEND", b"")
    )


def _pdf(text: str) -> bytes:
    """Write one line on one page (PDF 1.4)."""
    drawing = f"BT /F1 24 Tf 60 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, value in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    return bytes(data) + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def _wav() -> bytes:
    """Play a tone that fades: one second, one channel, 16 bits, 8 kHz."""
    rate = 8000
    samples = (
        int(20000 * math.exp(-4 * n / rate) * math.sin(2 * math.pi * 660 * n / rate))
        for n in range(rate)
    )
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return target.getvalue()
