"""Transports send requests over the network. Their interface is `cosxfer.transport.base.Transport`."""
