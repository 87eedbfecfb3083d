"""`manage.py read_file`: the content of a file, to stdout or to a path."""

import codecs
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from files import audit
from files.management import output
from files.management.running import sentence
from files.models import File


class Command(BaseCommand):
    """Streams the content in pieces of 1 MiB at most, whatever its size."""

    help = (
        "Print the text of a file, byte for byte as it is stored. What is not valid in the encoding"
        " ends with an error; what is in another encoding than UTF-8 is printed as UTF-8."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=int, help="the id of the file")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--encoding", default="utf-8", help="of the stored text, default: utf-8")
        how.add_argument("--raw", action="store_true", help="print the bytes, whatever they are")
        parser.add_argument(
            "--output",
            metavar="PATH",
            help="write this file, whole or not at all, in place of stdout; a device or a pipe is"
            " written to as it comes, and a link that another user made is replaced",
        )

    def handle(self, *, id: int, encoding: str, raw: bool, **options: Any) -> None:  # noqa: A002
        if not raw and not _is_text_encoding(encoding):
            raise CommandError(f"There is no text encoding {encoding!r}.")
        file = _find(id)
        try:
            with file.open() as content:
                pieces = _audited(content.chunks(), file)
                if not raw:
                    pieces = _as_utf8(pieces, encoding)
                if options["output"]:
                    output.write(options["output"], pieces)
                else:
                    self._print(pieces)
        except UnicodeError as error:
            raise CommandError(f"File {id} is not {encoding}: {_reason(error)}") from error
        except OSError as error:
            raise CommandError(f"File {id}: {sentence(error)}.") from error

    def _print(self, pieces: Iterator[bytes]) -> None:
        stdout = getattr(self.stdout, "buffer", None)  # a test's StringIO has none
        try:
            for piece in pieces:
                if stdout is None:
                    self.stdout.write(piece.decode(), ending="")
                else:
                    stdout.write(piece)
            self.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough
            output.discard(self.stdout._out)


def _audited(pieces: Iterable[bytes], file: File) -> Iterator[bytes]:
    """Yield the pieces, and record how many bytes of them were taken."""
    sent, outcome = 0, "cut off"
    try:
        for piece in pieces:
            yield piece
            sent += len(piece)
        outcome = "complete"
    finally:
        audit.record("download", outcome, file=file.pk, key=str(file), bytes=sent)


def _find(id: int) -> File:  # noqa: A002
    try:
        file = File.objects.get(pk=id)
    except (File.DoesNotExist, OverflowError):
        raise CommandError(f"There is no file with the id {id}.") from None
    except ProgrammingError as error:
        raise CommandError("The table is not ours yet: run `manage.py migrate`.") from error
    except OperationalError as error:
        message = " ".join(str(error).split())
        raise CommandError(f"The database cannot be reached: {message}") from error
    if file.deleted_at is not None:
        raise CommandError(f"File {id} is in the trash: restore it in the admin first.")
    return file


def _is_text_encoding(name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)
        b"x".decode(name)  # base64 and the like are no text encodings: LookupError
    except UnicodeDecodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True


def _reason(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{error.reason}. --raw prints the bytes, --encoding names what they are in."
    return f"{error}."


def _as_utf8(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Decode as it streams. The reason of the error that is raised names byte and offset."""
    decoder = codecs.getincrementaldecoder(encoding)()
    end = 0
    for piece in itertools.chain(pieces, [b""]):
        end += len(piece)
        try:
            yield decoder.decode(piece, final=not piece).encode()
        except UnicodeDecodeError as error:
            # The decoder's input began with what the piece before had left over.
            offset = end - len(error.object) + error.start
            error.reason = f"byte 0x{error.object[error.start]:02x} at {offset}, {error.reason}"
            raise
