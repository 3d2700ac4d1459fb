"""Messages that a probe or a measurement extracts from: of each a topic and some atoms are sure to be found."""

TEXTS = (
    "Decision: `{name}` keeps its audit log in PostgreSQL. It must never lose an entry of `{name}`.",
    "Problem: `{name}` fails when the disk is full. The fix for `{name}` is to check the free space before it writes.",
    "How do we test that `{name}` resumes after a crash? Kill it in the middle and run `{name}` again.",
)
