"""Ports for one environment: a block of its own, below those that the kernel hands out.

The block is held by a lock on a file that the first process inherits: the lock
lives as long as that process, and a crash cannot leave it behind.
"""

import fcntl
import random
import socket

from tools import Failed, cache

SIZE = 32
BLOCKS = range(20_000, 32_000, SIZE)


class Ports:
    """Names ports one after the other: `ports.new()`."""

    def __init__(self):
        self.lock, self.next, self.end = take_block()

    def new(self):
        if self.next == self.end:
            raise Failed("the block of ports is used up: raise ports.SIZE")
        self.next += 1
        return self.next - 1


def take_block():
    folder = cache() / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    for first in random.sample(BLOCKS, len(BLOCKS)):
        lock = open(folder / str(first), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if all(free(port) for port in range(first, first + SIZE)):
            return lock, first, first + SIZE
        lock.close()
    raise Failed("no block of free ports was found")


def free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
