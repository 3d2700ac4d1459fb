-- Restricts a rule that returns row ids to one range of them; the planner pushes the range down to the primary key.
SELECT ranged.* FROM ({rule}) AS ranged WHERE ranged.id > %(after)s AND ranged.id <= %(through)s
