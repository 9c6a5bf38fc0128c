"""Comparing two trees of files or objects, and making the second one equal to the first."""
