"""`UnexpectedRowsExpectation` with a bound: Great Expectations fetches every row of its query, however many there are.

The rule's query is wrapped, so that the server counts all of its rows and hands out a sample of them; the count is exact.
"""

from functools import cache
from typing import Any

from psycopg import sql

from knowledge_migration.engine.foundation.sql_files import statement

PLAIN = "unexpected_rows_expectation"


def counted(query: str, sample: int) -> str:
    """The query, counted by the server; the batch stays for Great Expectations to put in."""
    ruled = sql.SQL(query.rstrip("; \t\r\n"))
    return statement("quality/counted", rule=ruled, sample=sql.Literal(sample)).as_string()


@cache
def counted_rows() -> Any:
    """The class, which Great Expectations registers as `counted_rows_expectation`."""
    from great_expectations.expectations import UnexpectedRowsExpectation

    class CountedRowsExpectation(UnexpectedRowsExpectation):  # type: ignore[misc]  # untyped here
        """No row is returned; `observed_value` is the count that the rows of the sample carry."""

        def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
            rows = [dict(row) for row in metrics["unexpected_rows_query.table"]]
            counts = [row.pop("offending_rows") for row in rows]
            found = {"observed_value": counts[0] if counts else 0, "details": {"unexpected_rows": rows}}
            return {"success": not rows, "result": found}

    return CountedRowsExpectation
