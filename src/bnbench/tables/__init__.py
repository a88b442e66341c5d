"""Tables: gather the run store, write and read parquet and CSV, aggregate over seeds."""
