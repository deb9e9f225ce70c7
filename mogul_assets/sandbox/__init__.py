"""A whole pretend account behind ChartMogul's own API, so that demo, tests and benchmarks need no key.

``company`` makes the data (record by record in ``history``), ``api`` answers like ChartMogul, ``server`` puts that
on the network with its limits, ``faults`` breaks it on request, ``life`` makes time pass. Knows nothing of
this project's datasets or store. No Dagster.
"""

from mogul_assets.sandbox.company import Company, generate
from mogul_assets.sandbox.faults import Fault
from mogul_assets.sandbox.life import live, reissue
from mogul_assets.sandbox.server import NO_LIMITS, Limits, Sandbox, Serving, serve

__all__ = ["NO_LIMITS", "Company", "Fault", "Limits", "Sandbox", "Serving", "generate", "live", "reissue", "serve"]
