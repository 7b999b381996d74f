"""Known faults, put back into the production code one at a time, and the simulated runs that convict them."""
