"""Where lock cells are kept through Accord: what the cells and the transactions of a store over cells and rows share."""

CELLS_KEYSPACE = "polysite_cells"
CELLS_TABLE = "accord"
MODE = "mixed_reads"
"""Conditional writes, transactions and reads at SERIAL are Accord's; reads at LOCAL_ONE ask the nearest replica alone."""

OPTIONS = f"transactional_mode = '{MODE}' AND read_repair = 'NONE'"
"""Of a table of Accord's. Without the second, reads of several rows leave repairs that a killed Cassandra node cannot replay (decision 10)."""
