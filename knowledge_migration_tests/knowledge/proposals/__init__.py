"""What becomes of proposals, rule by rule, on a real database."""
