"""Three sites on one machine: what each operation costs in wide-area round trips, by its own word and by the clock. `make bench-wan`."""
