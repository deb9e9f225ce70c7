"""The three kinds of asset (reads, datasets, deliveries), each a factory, with their checks and IO managers.

The Dagster side of everything below: here its types meet ours. Schedules and sensors are in ``automation``. Modules
that define assets or ops postpone no annotations: Dagster reads them while it makes the definition, and refuses them
as text.
"""
