"""Downloads: objects in ranges, into files."""
