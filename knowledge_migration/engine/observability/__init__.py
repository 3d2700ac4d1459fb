"""Alerts, metric samples, plots and the report."""
