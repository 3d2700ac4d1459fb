-- Statistics of the restored database: a dump holds none, and the application's first queries need them. Nobody else is in it.
ANALYZE;
