-- One row of ours; a row of somebody else's that refers to it stops this.
DELETE FROM {table} WHERE id = %(id)s
