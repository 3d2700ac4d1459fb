"""Query and page performance against limits and the baseline."""
