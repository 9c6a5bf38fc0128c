"""``python -m cosxfer`` is the command ``cosxfer``."""

from cosxfer.cli import main

main()
