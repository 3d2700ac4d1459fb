-- How a query would be executed that took too long to execute it once more; reads nothing.
EXPLAIN (VERBOSE, FORMAT JSON) {query}
