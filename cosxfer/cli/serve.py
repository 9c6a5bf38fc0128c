"""``cosxfer serve``: the embedded server."""
