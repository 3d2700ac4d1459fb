"""The command line, one module for each thing that an operator works with; `cli.py` puts them together."""
