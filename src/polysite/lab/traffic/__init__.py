"""Client load at the sites of a lab: who calls what, how often, and where it is written down."""
