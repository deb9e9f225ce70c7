"""The datasets as data: columns, keys, windows, descriptions, and the read each comes from.

Here belongs what is true of a dataset wherever it is stored. How it is read (``account``), typed
(``store``), computed (``calculated``) or delivered (``destinations``) does not. Adding a dataset is one
declaration in ``datasets``. No Dagster, no I/O.
"""
