"""The knowledge base of `make migrate`, its live application and its traffic."""
