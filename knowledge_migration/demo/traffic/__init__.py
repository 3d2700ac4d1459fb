"""The traffic of the demonstration: users and their requests, the journal of writes, its verification, the report."""
