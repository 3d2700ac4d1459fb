"""The users of the demonstration: their requests, their journal, its verification."""
