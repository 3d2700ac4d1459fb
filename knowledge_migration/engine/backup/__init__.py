"""The verified backup: dumped under a snapshot, restored into a scratch database, compared, and only then named."""
