"""A text of 1 KiB, as a whole process."""

import subprocess
import sys

from benchmarks.measure import ROOT, Run, median, process, table
from project.sandbox import services

PREPARE = """
from django.core.files.base import ContentFile
from files.models import File
file = File.objects.create(object_key=ContentFile(b"text" * 256, name="bench/1k.txt"))
print(file.pk)
"""


def run(rounds: int) -> None:
    with services.running("embedded") as environ:
        python = sys.executable
        manage = [python, "manage.py"]
        process([*manage, "migrate", "--verbosity=0"], environ)
        file_id = process([*manage, "shell", "-v0", "-c", PREPARE], environ).output.decode().strip()
        aws = str(ROOT / ".venv" / "bin" / "aws")
        ways = {
            "the script": [python, "benchmarks/script.py", file_id],
            "manage.py read_file": [*manage, "read_file", file_id],
            "django-storages": [
                *(python, "-m", "django", "read_stock", file_id),
                *("--settings=benchmarks.stock.settings", "--pythonpath=."),
            ],
            "aws s3 cp": [aws, "s3", "cp", "s3://files/bench/1k.txt", "-"],
        }
        environ["AWS_DEFAULT_REGION"] = environ["AWS_REGION"]
        # Bytecode as in an installed image, on every side.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(
            [python, "-m", "compileall", "-q", ".venv/lib", "project", "files", "benchmarks"],
            cwd=ROOT,
            check=False,
        )
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for round_number in range(rounds + 1):
            for name, command in ways.items():
                found = process(command, environ)
                assert found.output == b"text" * 256, (name, found.output)
                if round_number:  # the first one warms up
                    runs[name].append(found)
    first = runs["the script"]
    rows = [
        [
            name,
            f"{median(found, 'wall'):.3f} s",
            f"{median(found, 'cpu'):.3f} s",
            f"{median(found, 'peak'):.0f} MiB",
            f"{median(found, 'wall') / median(first, 'wall'):.2f}",
            f"{median(found, 'peak') / median(first, 'peak'):.2f}",
        ]
        for name, found in runs.items()
    ]
    table(["1 KiB, whole process", "wall", "CPU", "peak", "wall ratio", "peak ratio"], rows)
