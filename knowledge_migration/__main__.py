"""`python -m knowledge_migration` is the `knowledge-migration` command."""

from knowledge_migration.commands.main import main

main()
