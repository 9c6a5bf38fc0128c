"""Copies between objects that need no bytes of this machine."""
