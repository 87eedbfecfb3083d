"""1 GiB, read to its end by a Python process."""

import json
import statistics
import sys
from typing import Any

from benchmarks.measure import MIB, process, seaweedfs, table
from project.sandbox import services

SIZE = 1024 * MIB

WRITE = f"""
import io
from django.core.files.base import File
from django.core.files.storage import default_storage
class Zeros(io.RawIOBase):
    size, left = {SIZE}, {SIZE}
    def readable(self): return True
    def seekable(self): return False
    def readinto(self, buffer):
        n = min(len(buffer), self.left)
        self.left -= n
        return n
default_storage.create("bench/1g.bin", File(Zeros(), "1g.bin"))
"""

# Prints seconds to the first byte and to the last, growth of the peak memory and temporary files.
READ = """
import json, os, resource, sys, threading, time
import django
django.setup()
from django.core.files.storage import default_storage as storage
size = 0
with storage.open("bench/small.txt") as warm:
    warm.read()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
disk = 0
def watch():
    global disk
    while True:
        for fd in os.listdir("/proc/self/fd"):
            try:
                if "(deleted)" in os.readlink(f"/proc/self/fd/{fd}"):
                    disk = max(disk, os.stat(f"/proc/self/fd/{fd}").st_size)
            except OSError:
                pass
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
before, start = peak(), time.perf_counter()
with storage.open("bench/1g.bin") as file:
    size += len(file.read(1))
    first = time.perf_counter() - start
    while data := file.read(2**20):
        size += len(data)
    whole = time.perf_counter() - start
print(json.dumps([first, whole, peak() - before, disk / 2**20, size]))
"""

SMALL = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
default_storage.save("bench/small.txt", ContentFile(b"text"))
"""


def run(rounds: int) -> None:
    with services.running("embedded") as environ, seaweedfs(environ) as environ:
        python = sys.executable
        for code in (WRITE, SMALL):
            process([python, "manage.py", "shell", "-v0", "-c", code], environ)
        settings = {
            "django-storages": "benchmarks.stock.settings",
            "our open()": "project.settings",
        }
        found: dict[str, list[Any]] = {name: [] for name in settings}
        for _ in range(min(rounds, 5)):
            for name, module in settings.items():
                with_settings = environ | {"DJANGO_SETTINGS_MODULE": module}
                output = process([python, "-c", READ], with_settings).output
                found[name].append(json.loads(output))
                assert found[name][-1][-1] == SIZE
    middle = {
        name: [statistics.median(run[i] for run in runs) for i in range(4)]
        for name, runs in found.items()
    }
    stock = middle["django-storages"]
    rows = [
        [
            name,
            f"{first * 1000:.0f} ms",
            f"{whole:.2f} s",
            f"{growth:.0f} MiB",
            f"{disk:.0f} MiB",
            f"{first / stock[0]:.4f}",
            f"{whole / stock[1]:.2f}",
        ]
        for name, (first, whole, growth, disk) in middle.items()
    ]
    table(
        ["1 GiB", "first byte", "whole", "growth", "disk", "first byte ratio", "whole ratio"],
        rows,
    )
