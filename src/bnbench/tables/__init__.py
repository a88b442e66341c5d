"""The result tables: collected from the run store, aggregated over seeds, written as parquet and CSV."""
