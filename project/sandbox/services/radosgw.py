"""The embedded services with Ceph's radosgw for S3: it judges signatures, order and odd keys."""

import shutil
import signal
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path

from project.sandbox.services import embedded
from project.sandbox.services.processes import (
    ServicesError,
    free_port,
    run_program,
    start_server,
)
from project.sandbox.services.variables import Postgres

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")

# A cluster of one monitor and one store in memory. Nobody else's is touched: no file, no port and
# no default of the machine's own Ceph.
_CONFIGURATION = """
[global]
fsid = {cluster}
mon_host = v2:127.0.0.1:{monitor_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# radosgw's own default is "secure", which needs keys.
ms_mon_client_mode = crc

run_dir = {folder}
crash_dir = {folder}
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}
keyring = {folder}/none
admin_socket =
log_to_file = false
mon_cluster_log_to_file = false

# How many changes of the cluster are written at once: each pool waits for its own.
paxos_propose_interval = 0.01
# What is free on the machine's disk, of which nothing is used.
mon_data_avail_crit = 0
osd_objectstore = memstore
memstore_device_bytes = 8Gi
osd_pool_default_size = 1
osd_pool_default_pg_num = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true

# Seconds after which a start has failed.
client_mount_timeout = 30
rgw_init_timeout = 30

rgw_frontends = beast endpoint=127.0.0.1:{port}
# Every region is this one.
rgw_relaxed_region_enforcement = true
# Seconds after which memory of what was deleted is free again, in place of two hours.
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 5

[mon]
# By which the monitor knows which one of mon_host it is.
public_addrv = v2:127.0.0.1:{monitor_port}
"""


def describe() -> str:
    """Return what is started, with versions. Raises ServicesError where it is not installed."""
    if any(shutil.which(program) is None for program in _PROGRAMS):
        raise ServicesError(
            "radosgw is not installed: `apt-get install --no-install-recommends radosgw ceph-mon"
            " ceph-osd` installs it."
        )
    command = ["radosgw", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{embedded.describe()}, radosgw {found.stdout.split()[2]}"


def start(stack: ExitStack, folder: Path, keep: bool) -> tuple[Postgres, dict[str, str]]:
    """Start all in the folder; return the database and the endpoints."""
    postgres, endpoints = embedded.start(stack, folder, keep)
    endpoint = _start_radosgw(stack, folder / "radosgw", keep, endpoints)
    return postgres, endpoints | {"AWS_ENDPOINT_URL_S3": endpoint}


def _start_radosgw(stack: ExitStack, folder: Path, keep: bool, user: dict[str, str]) -> str:
    """Start monitor, store and radosgw, and make the user of IAM here too; return the endpoint."""
    port = free_port()
    _configure(folder, port)

    def run(program: str, *arguments: str) -> None:
        run_program([program, "-c", "ceph.conf", *arguments], cwd=folder)

    def serve(program: str, *arguments: str) -> None:
        command = [program, "-c", "ceph.conf", "-f", *arguments]
        start_server(stack, command, signal.SIGKILL, keep=keep, cwd=folder)  # nothing is saved

    store = str(uuid.uuid4())
    run("ceph-mon", "--mkfs", "-i", "a")
    serve("ceph-mon", "-i", "a")
    run("ceph", "osd", "new", store)
    run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store)
    serve("ceph-osd", "-i", "0")
    run(
        *("radosgw-admin", "user", "create", "--uid=files", "--display-name=files"),
        f"--access-key={user['AWS_ACCESS_KEY_ID']}",
        f"--secret={user['AWS_SECRET_ACCESS_KEY']}",
    )
    for place, *data in (("zonegroup",), ("zone", "--data-pool=default.rgw.buckets.data")):
        run(
            *("radosgw-admin", place, "placement", "add", f"--rgw-{place}=default", *data),
            *("--placement-id=default-placement", "--storage-class=STANDARD_IA"),
        )
    serve("radosgw", "-n", "client.rgw")
    return f"http://127.0.0.1:{port}"


def _configure(folder: Path, port: int) -> None:
    for part in ("mon", "osd"):
        (folder / part).mkdir(parents=True)
    configuration = _CONFIGURATION.format(
        cluster=uuid.uuid4(), monitor_port=free_port(), port=port, folder=folder
    )
    (folder / "ceph.conf").write_text(configuration, "utf-8")
