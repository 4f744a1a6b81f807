#!/usr/bin/env python3
"""Runs a command under the system call filter, address families and no_new_privs of a unit file, without systemd as init.

    run-filtered.py UNIT COMMAND [ARGUMENT...]

The sets come from `systemd-analyze syscall-filter`, the filter itself from libseccomp, as in systemd. What is not allowed fails with EPERM.
Ends with 77 when this host lacks one of them; says so in one line.
"""
import ctypes
import os
import subprocess
import sys

ALLOW, ERRNO_EPERM, PR_SET_NO_NEW_PRIVS = 0x7FFF0000, 0x00050001, 38
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_XDP": 44}


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def values(unit, key):
    """The values of all lines of a key, in order."""
    return [line.split("=", 1)[1].strip() for line in open(unit) if line.startswith(key + "=")]


def members(name, known={}):
    """The system calls of one word of a filter: itself, or a set with the sets in it."""
    if not name.startswith("@"):
        return {name}
    if name not in known:
        lines = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout.splitlines()
        words = [line.strip() for line in lines[1:]]
        known[name] = set().union(*(members(word) for word in words if word and not word.startswith("#")))
    return known[name]


def allowed(unit):
    """What the unit's SystemCallFilter lines leave, in their order."""
    calls = set()
    for line in values(unit, "SystemCallFilter"):
        of = set().union(*(members(word) for word in line.lstrip("~").split()))
        calls = calls - of if line.startswith("~") else calls | of
    return calls | members("@default")


def install(unit):
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(ERRNO_EPERM)))
    families = [FAMILIES[name] for name in " ".join(values(unit, "RestrictAddressFamilies")).split()]
    for name in sorted(allowed(unit)):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # not of this architecture
        rules = [[Compare(0, 4, family, 0)] for family in families] if name == "socket" and families else [[]]
        for rule in rules:
            array = (Compare * len(rule))(*rule)
            if seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, len(rule), array) != 0:
                sys.exit(f"cannot allow {name}")
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if seccomp.seccomp_load(context) != 0:
        print("SKIPPED: the kernel takes no seccomp filter here")
        sys.exit(77)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        install(sys.argv[1])
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"SKIPPED: no systemd-analyze or libseccomp ({error})")
        sys.exit(77)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
