"""The success criteria of the strategy and their evidence."""
