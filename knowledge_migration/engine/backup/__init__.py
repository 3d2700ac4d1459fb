"""The verified backup: dumped under a snapshot, restored elsewhere, compared, and only then named."""
