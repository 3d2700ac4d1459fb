"""The phases as Dagster runs them: real jobs on a real database, with an instance of their own."""
