"""What a store and cells on Cassandra share: the port, its two driver adapters, the table of outcomes, and the settings."""

from polysite.engines.cassandra.port import (
    NOTHING,
    UNSET,
    Bound,
    CassandraPort,
    Conditional,
    Consistency,
    Page,
    Row,
    ServerFacts,
    Statement,
    Value,
)

__all__ = [
    "NOTHING",
    "UNSET",
    "Bound",
    "CassandraPort",
    "Conditional",
    "Consistency",
    "Page",
    "Row",
    "ServerFacts",
    "Statement",
    "Value",
]
