"""The ways back that use the verified backup: compare and repair row by row, all phases at once, the whole database."""
