-- Every row of the table.
{table} AS source
