"""How requests reach the network. The seam is `cosxfer.transport.base.Transport`."""
