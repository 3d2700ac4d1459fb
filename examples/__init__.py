"""Applications that the migration is used with, for documentation and tests. Nothing of the package imports them."""
