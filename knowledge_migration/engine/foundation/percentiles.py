"""Percentiles of measured seconds, in milliseconds; interpolated between the nearest samples."""

from collections.abc import Sequence

import numpy as np


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, p95 and p99 in milliseconds."""
    median, p95, p99 = (round(float(value) * 1000, 4) for value in np.percentile(seconds, (50, 95, 99)))
    return median, p95, p99
