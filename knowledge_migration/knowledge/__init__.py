"""The application side: the tables, and what the application does with them. Knows neither `engine` nor Dagster."""
