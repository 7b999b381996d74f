"""Rows in Cassandra 5.0: one table of Cassandra for each of ours, every write with our stamp."""

from polysite.stores.cassandra.store import CassandraStore

__all__ = ["CassandraStore"]
