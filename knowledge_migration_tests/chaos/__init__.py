"""Randomized rounds of users, operators and faults on a real server, and an independent judge (`make chaos`)."""
