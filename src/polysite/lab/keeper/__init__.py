"""The keeper: one process per lab that holds its networks, starts what runs at the sites, and takes all of it along when it ends."""
