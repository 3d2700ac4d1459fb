-- Drops the measurements of the service.
DROP TABLE migration.service_measurement;
