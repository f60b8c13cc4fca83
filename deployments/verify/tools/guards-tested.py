#!/usr/bin/env python3
"""Says which refusals (`fail`) of a chart's templates no unit test expects.

    guards-tested.py CHART
"""
import pathlib
import re
import sys


def expects(pattern: list[str], message: list[str]) -> bool:
    """Whether the words of a test's pattern occur in a message, in which a word with a placeholder may be any."""
    return any(
        all("%" in word or re.search(part, word) for part, word in zip(pattern, message[start:]))
        for start in range(len(message) - len(pattern) + 1)
    )


def main() -> int:
    chart = pathlib.Path(sys.argv[1])
    patterns = [
        text.split()
        for suite in sorted((chart / "tests").glob("*_test.yaml"))
        for text in re.findall(r'errorPattern: "([^"]+)"', suite.read_text())
    ]
    found = untested = 0
    for template in sorted((chart / "templates").rglob("*.*")):
        for message in re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)*)"', template.read_text()):
            found += 1
            if not any(expects(pattern, message.split()) for pattern in patterns):
                print(f"{template.name}: no test expects: {message}", file=sys.stderr)
                untested += 1
    print(f"{found} refusals, {untested} without a test")
    return 1 if untested or not found else 0


if __name__ == "__main__":
    sys.exit(main())
