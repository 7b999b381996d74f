"""Three sites on Cassandra that do not get slower with use, and what they carry: `make bench-sites`."""
