"""What Slack, Email and Webhook say, and the ledger that remembers every message of it. No Dagster.

What a message looks like for one vendor, and how it is sent there, is that destination's own.
"""
