"""What is computed from typed tables: the calculated customers and the MRR movements.

Pure functions from tables to tables, in SQL over Parquet. No reading of the account, no Dagster.
"""
