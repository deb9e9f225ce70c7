"""Reading a ChartMogul account: the HTTP client, its lists, and the exchange rates the API does not have.

Here belongs everything that knows ChartMogul's API as a transport: pacing, retries, paging, shards, errors.
What the rows mean belongs to ``catalog`` and ``store``. No Dagster.
"""
