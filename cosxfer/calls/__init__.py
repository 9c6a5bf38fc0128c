"""The calls of the two clients, a group to a module: `AsyncClient` and `Client` are made of them."""
