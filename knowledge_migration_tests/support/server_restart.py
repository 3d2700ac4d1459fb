"""Restarts an embedded server in a test, as an operator or a crash would."""

import shlex
import subprocess
from typing import Literal

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer


def restart(server: EmbeddedServer, *, mode: Literal["fast", "immediate"]) -> None:
    """Stops the server (immediate: as in a crash) and starts it again on the same data; waits for both."""
    command = [str(server.bin_path / "pg_ctl"), "-D", str(server.data_directory), "-m", mode, "-w", "restart"]
    if server.system_user:
        command = ["su", server.system_user, "-c", shlex.join(command)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
