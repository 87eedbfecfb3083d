#!/usr/bin/env python3
"""Start Chromium blind to the network interfaces of the machine.

It breaks off what it loads, also from 127.0.0.1, whenever an interface comes or goes, as those of
containers do (ERR_NETWORK_CHANGED), and has no option against it.
"""

import ctypes
import os
import platform
import socket
import struct
import sys

CHROMIUM = "/usr/bin/chromium"

# Numbers of linux/prctl.h, linux/seccomp.h, linux/bpf_common.h and of the system call `socket`.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
SOCKET = {"x86_64": 41, "aarch64": 198}
NUMBER, FIRST_ARGUMENT = 0, 16  # where they stand in a struct seccomp_data
EAFNOSUPPORT = 97


def refuse_netlink(number: int) -> None:
    """Let sockets of the family by which the kernel tells of interfaces fail in this process."""
    steps = [
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 0, 3, number),  # or else 3 steps on
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 0, 1, socket.AF_NETLINK),
        (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(packed))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)):
        if libc.prctl(*arguments, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    if number := SOCKET.get(platform.machine()):
        refuse_netlink(number)
    os.execv(CHROMIUM, [CHROMIUM, *sys.argv[1:]])  # noqa: S606 - it is to have no shell
