"""What mends the migration after an accident, against real processes and real damage."""
