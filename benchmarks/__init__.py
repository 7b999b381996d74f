"""Speed as ratios taken in one run; never part of the tests. `make bench` fails when a ratio is missed."""
