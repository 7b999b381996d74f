"""Whether Cassandra 6's Accord holds what it promises: `python -m benchmarks.accord`, one command per finding."""
