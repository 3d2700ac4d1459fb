"""Measurements for `make bench`: ratios against something that runs beside them, never bare times."""
