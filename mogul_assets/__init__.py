"""mogul_assets: a ChartMogul account as Dagster assets, delivered to the places you choose.

Layers, each importing only those before it::

    catalog ← account ← store ← calculated, messages ← destinations ← assets ← automation ← definitions, cli

``sandbox`` stands apart: a pretend account behind ChartMogul's own API. Nothing is re-exported here, so
that importing the package costs nothing.
"""
