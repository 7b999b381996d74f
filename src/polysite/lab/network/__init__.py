"""The network between the sites: a namespace and a TUN device per site, and one process that carries every packet."""
