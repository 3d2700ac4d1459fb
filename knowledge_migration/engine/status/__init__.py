"""The one reader of the migration's state; commands, pages, report and metrics render it."""
