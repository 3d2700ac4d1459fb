-- The hash of the values of one row, as reports/fingerprint_ranges.sql sums it; a piece of other statements.
hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)
