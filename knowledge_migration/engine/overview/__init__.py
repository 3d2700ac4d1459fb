"""The whole state of a migration at one look: quick at any size, and honest about what is an estimate."""
