"""Parses a Bicep file, and looks whether every name it uses is declared. Bicep's own compiler is not to be had here."""
import re
import sys

from pycep import BicepParser

text = open(sys.argv[1], encoding="utf-8").read()
parsed = BicepParser().parse(text=text)
plain = re.sub(r"//.*", "", text)
declared = {name for name in re.findall(r"^(?:param|var|resource|output|module)\s+(\w+)", plain, re.M)}
# Names in interpolations, and values that are a name with or without properties.
code = re.sub(r"'(?:\\.|[^'\\])*'", lambda at: " ".join(re.findall(r"\$\{([^}]*)\}", at[0])), plain)
used = set(re.findall(r"(?<![\w.])([a-z]\w*)(?=\.(?:id|properties|name)\b)", code))
used |= set(re.findall(r"^\s*\w+:\s+([a-z]\w*)\s*$", code, re.M)) - {"true", "false", "null"}
unknown = used - declared
assert not unknown, f"used and not declared: {sorted(unknown)}"
unused = {name for name in re.findall(r"^(?:param|var)\s+(\w+)", plain, re.M) if len(re.findall(rf"\b{name}\b", code)) < 2}
assert not unused, f"declared and not used: {sorted(unused)}"
kinds = set(re.findall(r"'(Microsoft\.[\w./]+)@\d{4}-\d\d-\d\d(?:-preview)?'", plain))
assert "Microsoft.App/containerApps" in kinds, kinds
print(f"{len(declared)} names, {len(kinds)} kinds of resources; {sorted(parsed)[:6]}")
