"""Ports of the loopback interface."""

import random
import socket

HOST = "127.0.0.1"
# Below the range from which the kernel gives ports to outgoing connections (32768 and up), so
# that a server that was killed finds its port free again.
LOWEST_PORT, HIGHEST_PORT = 15_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        # Ports in TIME_WAIT are free for a server that sets the same option, as all three do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """The preferred port if nobody holds it, else some free one."""
    if preferred is not None and is_free(preferred):
        return preferred
    while True:
        port = random.randint(LOWEST_PORT, HIGHEST_PORT)
        if is_free(port):
            return port
