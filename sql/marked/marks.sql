-- What is marked as ours and not removed yet, oldest first. Relies on evidence_by_kind.
SELECT id, recorded_at, content FROM migration.evidence WHERE kind = 'marked_messages' ORDER BY id
