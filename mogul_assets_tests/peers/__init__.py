"""The servers that the tests talk to: one module a peer, each real or of high fidelity, on loopback only.

A peer with dependencies of its own has its environment under ``.peers`` (``make peers``), locked by a
``<name>.lock`` beside its module. What a test asks of a peer belongs to the test, not here.
"""
