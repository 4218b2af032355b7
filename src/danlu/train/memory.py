"""Keeping the memory a training step uses, instead of asking the system for it anew every step."""

import ctypes
import sys

# glibc's mallopt parameters, from malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
WANTED = {
    M_MMAP_THRESHOLD: 2**30,  # blocks up to 1 GB come from the heap
    M_TRIM_THRESHOLD: 2**31 - 1,  # whose end is not given back
    M_ARENA_MAX: 1,  # and of which there is one: the backward pass runs in a thread of its own
}


def hold_memory() -> bool:
    """Ask the C library to reuse large blocks rather than return them to the system; true if it agreed.

    By default glibc maps every large block afresh and unmaps it when freed, so each gradient of each step is paid for
    in page faults and zeroing. A training step asks for the same sizes again and again; holding them took a sixth off
    the step of a 22M-parameter encoder. Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    agreed = [bool(mallopt(parameter, value)) for parameter, value in WANTED.items()]
    return all(agreed)
