"""Where reads and datasets live between assets: immutable files, moving pointers.

A refresh writes new files under its own generation; a pointer moves to them when they have passed their
checks, by one atomic replacement. Here belong files, pointers, and the typing of raw pages. Reading the
account and delivering do not. No Dagster.
"""
