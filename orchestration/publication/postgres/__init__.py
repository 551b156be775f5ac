"""The publication in PostgreSQL: for tools that want a server, row security or JDBC.

Optional. Reads the published Parquet only, never the warehouse, and replaces a whole schema at once.
"""


class NotLoaded(RuntimeError):
    """PostgreSQL has kept what it had; the message says why and what to do."""
