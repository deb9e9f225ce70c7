"""A whole pretend account behind ChartMogul's own API, so that demo, tests and benchmarks need no key.

``company`` makes the data, ``server`` answers like the API, ``faults`` breaks it on request, ``life`` makes
time pass. Knows nothing of this project's datasets or store. No Dagster.
"""
