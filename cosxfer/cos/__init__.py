"""The COS protocol as pure functions: no I/O, no clock. Client and embedded server use the same ones."""
