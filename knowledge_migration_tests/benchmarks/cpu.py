"""The CPU time of a server, for benchmarks on machines that are busy."""

from contextlib import suppress

import psutil

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer


def server_cpu_seconds(server: EmbeddedServer) -> float:
    """Of its processes now and of all that have ended."""
    postmaster = psutil.Process(server.pid)
    ended = postmaster.cpu_times()
    total = ended.children_user + ended.children_system
    for process in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            own = process.cpu_times()
            total += own.user + own.system
    return total
