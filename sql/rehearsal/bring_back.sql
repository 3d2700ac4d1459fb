-- Lets, on a clone, proposals wait again that were set aside.
UPDATE {proposals} SET status = 'pending' WHERE id = ANY (%(ids)s) AND status = 'parked'
