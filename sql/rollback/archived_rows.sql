-- How many archived extractions there are; they exist nowhere else. One scan.
SELECT count(*) AS rows FROM {table}
