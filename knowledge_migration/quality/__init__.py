"""The Great Expectations suites over the live tables, their adapter and their documents. No gate stands on them alone.

Great Expectations is imported inside functions only: it costs seconds and hundreds of megabytes. Nothing here knows Dagster.
"""
