"""The entry point of `knowledge-migration`: it loads the commands and runs one."""

import gc
import os

PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
"""Pydantic reads every installed package to find plugins, while a short command loads."""


def main() -> None:
    """Runs the command that the arguments name."""
    gc.disable()  # it frees nothing while modules load, and took 5 % of the CPU time of a short command
    decided = PLUGINS in os.environ
    os.environ.setdefault(PLUGINS, "__all__")
    from knowledge_migration.commands.application import run

    if not decided:
        del os.environ[PLUGINS]
    gc.freeze()  # what is loaded stays, so no collection reads it
    gc.enable()
    run()


if __name__ == "__main__":
    main()
