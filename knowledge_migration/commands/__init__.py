"""The command line, one module for each thing that an operator works with; `application.py` puts them together."""
