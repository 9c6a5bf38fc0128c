"""Prints the build tools of a requirements file, with their hashes. Usage: build_tools.py FILE."""

import re
import sys
from pathlib import Path

TOOLS = re.compile(r"^(?:setuptools|cython)==[^\\\n]*(?:\\\n[^\\\n]*)*$", re.MULTILINE | re.IGNORECASE)

if __name__ == "__main__":
    found = TOOLS.findall(Path(sys.argv[1]).read_text())
    if len(found) != 2:
        raise SystemExit(f"build_tools.py: {len(found)} of 2 build tools are in {sys.argv[1]}")
    print("\n".join(found))
