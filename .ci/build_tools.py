"""Prints packages of a requirements file, with their hashes. Usage: build_tools.py FILE NAME…"""

import re
import sys
from pathlib import Path

if __name__ == "__main__":
    file, *names = sys.argv[1:]
    package = rf"^(?:{'|'.join(names)})==[^\\\n]*(?:\\\n[^\\\n]*)*$"
    found = re.findall(package, Path(file).read_text(), re.MULTILINE | re.IGNORECASE)
    if len(found) != len(names):
        raise SystemExit(f"build_tools.py: {len(found)} of {len(names)} packages are in {file}")
    print("\n".join(found))
