"""Which existing topic or atom is a proposed one similar to: exactly, by spelling, by meaning. Writes nothing."""
