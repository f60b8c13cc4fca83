#!/usr/bin/env python3
"""The commands and files of a page of the documentation, as they are printed, for a check to run and to read.

page.py PAGE CHAPTER...                  its commands
page.py --files FOLDER PAGE CHAPTER...   writes its YAML into the files that the first line of each names

A chapter ends where the next one begins, whatever its rank; that of the page's title is what stands before the first.
"""

import re
import sys
from pathlib import Path


def blocks(page: str, chapter: str, language: str) -> list[str]:
    found = re.search(rf"^##?#? {re.escape(chapter)}\n(.*?)(?=^##|\Z)", page, re.S | re.M)
    if not found:
        sys.exit(f"no chapter '{chapter}'")
    texts = re.findall(rf"^```{language}\n(.*?)^```", found[1], re.S | re.M)
    if not texts:
        sys.exit(f"no {language} in '{chapter}'")
    return texts


def write(folder: Path, text: str) -> None:
    name = re.match(r"# (\S+\.yaml)\n", text)
    if not name:
        sys.exit(f"no name of a file in the first line of:\n{text}")
    path = folder / name[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main(arguments: list[str]) -> None:
    folder = None
    if arguments[0] == "--files":
        folder, arguments = Path(arguments[1]), arguments[2:]
    text = Path(arguments[0]).read_text()
    for chapter in arguments[1:]:
        if folder:
            for block in blocks(text, chapter, "yaml"):
                write(folder, block)
        else:
            print("".join(blocks(text, chapter, "sh")))


if __name__ == "__main__":
    main(sys.argv[1:])
