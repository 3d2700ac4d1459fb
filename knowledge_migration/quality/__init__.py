"""The Great Expectations suites over the live tables, their adapter and their documents. No gate relies on them alone.

Great Expectations is imported inside functions only, because it costs seconds and hundreds of megabytes. Dagster is not used.
"""
