"""The metrics of the migration: the strategy's dashboard queries, and what they said over time."""
