"""Tests of the migration page: its feed and the deeds of an admin, without a browser."""
