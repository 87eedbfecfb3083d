"""How many CPUs this process may use, which is often fewer than the machine has."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable(cgroups: Path = CGROUPS) -> int:
    """Return the CPUs of the process's affinity, or of its cgroup's quota, rounded up, if less."""
    quotas = [math.ceil(quota) for quota in _quotas(cgroups)]
    return max(1, min(len(os.sched_getaffinity(0)), *quotas, 2**16))


def _quotas(cgroups: Path) -> list[float]:
    """Return the quotas that the kernel's files tell of, of cgroups of version 2 and 1."""
    found = []
    for path in (cgroups / "cpu.max", *_own(cgroups)):
        quota, _, period = _text(path).partition(" ")
        found.append((quota, period))
    found.append(
        (_text(cgroups / "cpu/cpu.cfs_quota_us"), _text(cgroups / "cpu/cpu.cfs_period_us"))
    )
    return [
        int(quota) / int(period)
        for quota, period in found
        if quota.isdigit() and period.strip().isdigit()
    ]


def _own(cgroups: Path) -> list[Path]:
    """Return the files of the process's own group and of those that it is in."""
    own = next(
        (line[3:] for line in _text(Path("/proc/self/cgroup")).split("\n") if line[:3] == "0::"), ""
    )
    group = cgroups / own.lstrip("/")
    return [parent / "cpu.max" for parent in (group, *group.parents) if cgroups in parent.parents]


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""
