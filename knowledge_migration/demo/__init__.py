"""The demonstration: its knowledge base, its live application with traffic, and its scaled-down cutover."""
