#!/usr/bin/env python3
"""The commands of a page of the documentation, as they are printed, for a check to run.

page.py PAGE CHAPTER...
"""

import re
import sys
from pathlib import Path


def commands(page: str, chapter: str) -> str:
    found = re.search(rf"^## {re.escape(chapter)}\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    if not found:
        sys.exit(f"no chapter '{chapter}'")
    blocks = re.findall(r"^```sh\n(.*?)^```", found[1], re.S | re.M)
    if not blocks:
        sys.exit(f"no commands in '{chapter}'")
    return "".join(blocks)


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text()
    for name in sys.argv[2:]:
        print(commands(text, name))
