"""`python -m benchmarks [NAME ...]`: measures both sides of each claim in one run.

Every row is one way to do the same work; the last column is its ratio to the first row. The ways
are run in turns, so that a noisy machine is noisy for all of them. Nothing is measured but on
127.0.0.1, and everything ends by itself.
"""

import argparse
import importlib
import sys

BENCHMARKS = {
    "read_file": "a text as a whole process, against the script and stock django-storages",
    "open": "1 GiB through our open() and through django-storages as it comes",
    "delivery": "objects over HTTP, against the views that one writes first",
    "verify": "the bytes of files against their checksums, beside sha256sum and rclone",
    "servers": "pages that need no S3 while clients, S3 or PostgreSQL are slow, on each server",
    "admin": "lists of admin and API at 1,000,000 and 10,000,000 files, against stock ones",
    "api": "1,000 small uploads by the API, against boto3 alone and with an INSERT",
    "soak": "twenty clients of the production server, while its services break",
    "catalogue": "check_files and import_files, against a bare listing, rclone and COPY",
    "migrate": "readers and writers of 1,000,000 files, while their table is migrated",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=15, help="of each way, default: 15")
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        help="files in the table of admin and of migrate, objects of catalogue",
    )
    parser.add_argument("--seconds", type=int, help="of soak, default: 600")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}: {', '.join(BENCHMARKS)}.")
    for name in options.names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}\n", flush=True)
        own = options.seconds if name == "soak" else options.rows
        sizes = [own] if name in {"admin", "catalogue", "migrate", "soak"} and own else []
        importlib.import_module(f"benchmarks.bench_{name}").run(options.rounds, *sizes)


if __name__ == "__main__":
    main()
