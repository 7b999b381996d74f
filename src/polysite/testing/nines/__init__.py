"""Five nines: the share of requests that succeed in time while sites go down and come back. `polysite sim nines`."""
