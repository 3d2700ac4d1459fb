"""How fast queries and pages are, against their limits and against the baseline; what a gate promotes on stays in `cutover`."""
