-- Forgets a mark: what it speaks of is removed in this transaction.
DELETE FROM migration.evidence WHERE kind = 'marked_messages' AND id = %(mark)s
