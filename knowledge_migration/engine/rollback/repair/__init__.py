"""Row-by-row comparison with the backup and the repair of differences."""
