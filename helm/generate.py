#!/usr/bin/env python3
"""Writes what the chart takes from elsewhere, or with --check says what of it is stale.

    helm/generate.py [--check]

- values.schema.json: the schema of `config` is that of the product (docs/config.schema.json), thresholds are those of the rules.
- files/: the rules and dashboards of deployments/monitoring.
- README.md: the table of values, from the comments in values.yaml.
- Chart.yaml: version and licence of the program, from Cargo.toml.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "mcp-oidc-proxy"
MONITORING = ROOT / "deployments" / "monitoring"


def schema() -> str:
    """The hand-written schema of the values, with the product's own for `config`."""
    values = json.loads((CHART / "values.schema.json").read_text())
    product = json.loads((ROOT / "docs" / "config.schema.json").read_text())

    def adapted(node):
        # Older versions of Helm know draft 7 only, and defaults and texts are of no use to it.
        if isinstance(node, list):
            return [adapted(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        out = {}
        for key, value in node.items():
            if key in ("properties", "$defs", "definitions"):
                out[key] = {name: adapted(entry) for name, entry in value.items()}
            elif key == "$ref":
                out[key] = value.replace("#/$defs/", "#/definitions/config.")
            elif key == "description":
                out[key] = " ".join(value.split())
            elif key not in ("default", "format", "$schema", "title"):
                out[key] = adapted(value)
        return out

    product = adapted(product)
    definitions = {name: entry for name, entry in values["definitions"].items() if not name.startswith("config")}
    for name, entry in product.pop("$defs").items():
        definitions[f"config.{name}"] = entry
    # Everything is optional at the top: the chart adds the version and more.
    product.pop("required", None)
    # With secrets.clientSecret and sessionStorage, these sections are completed by the chart.
    definitions["config"] = product
    values["definitions"] = definitions
    # Every threshold that there is, and no other.
    rule = values["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]
    levels = {}
    text = (MONITORING / "rules" / "thresholds.yml").read_text()
    for of, level in re.findall(r"labels: \{ of: (\w+), level: (\w+)", text):
        levels.setdefault(of, {})[level] = {"type": "number"}
    closed = {"type": "object", "additionalProperties": False}
    rule["thresholds"] = {**closed, "properties": {of: {**closed, "properties": each} for of, each in levels.items()}}
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def copies() -> dict[pathlib.Path, str]:
    """The files of the chart that are copies, and their texts."""
    wanted = {}
    for folder, pattern in (("rules", "*.y*ml"), ("dashboards", "*.json")):
        for source in sorted((MONITORING / folder).glob(pattern)):
            wanted[CHART / "files" / folder / source.name] = source.read_text()
    return wanted


def rows() -> list[str]:
    """Key, default and meaning of each value that has a comment `# --`."""
    out, path, comment = [], [], None
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        text = line.strip()
        if text.startswith("# -- "):
            comment = [text[5:]]
        elif text.startswith("#"):
            if comment is not None:
                comment.append(text[1:].strip())
        elif match := re.match(r"^( *)([A-Za-z][A-Za-z0-9]*):(.*)$", line):
            depth, key, rest = len(match[1]) // 2, match[2], match[3].strip()
            path = path[:depth] + [key]
            if comment is not None:
                default = rest
                if not default:
                    block = []
                    for below in lines[number + 1 :]:
                        if below.strip() and len(below) - len(below.lstrip()) <= len(match[1]):
                            break
                        block.append(below)
                    default = "see values.yaml" if block else ""
                shown = f"`{default}`" if default and default != "see values.yaml" else default
                out.append(f"| `{'.'.join(path)}` | {' '.join(comment)} | {shown} |".replace("|| ", "| "))
            comment = None
        else:
            comment = None
    return out


def readme() -> str:
    begin, end = "<!-- values: generated -->\n", "<!-- end of values -->"
    text = (CHART / "README.md").read_text()
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    table = "| key | meaning | default |\n|---|---|---|\n" + "\n".join(rows()) + "\n"
    return f"{head}{begin}{table}{end}{tail}"


def chart() -> str:
    """Chart.yaml with the version and the licence of the program. The chart's own patch version is its own."""
    package = (ROOT / "Cargo.toml").read_text().split("[package]\n")[1].split("\n[")[0]
    text = (CHART / "Chart.yaml").read_text()
    for key, pattern in (
        ("version", r"^version: (.*)$"),
        ("version", r"^appVersion: (.*)$"),
        ("version", r"^      image: [^\n]*:([^:\n]*)$"),
        ("license", r"^  artifacthub.io/license: (.*)$"),
    ):
        value = re.search(rf'^{key} = "([^"]+)"$', package, re.M)
        place = re.search(pattern, text, re.M)
        if not value or not place:
            sys.exit(f"{key} is not in Cargo.toml, or has no place in Chart.yaml: {pattern}")
        own = pattern.startswith("^version") and place[1].split(".")[:2] == value[1].split(".")[:2]
        if not own:
            text = text[: place.start(1)] + value[1] + text[place.end(1) :]
    return text


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    wanted = {
        CHART / "values.schema.json": schema(),
        CHART / "README.md": readme(),
        CHART / "Chart.yaml": chart(),
        **copies(),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in (CHART / "files").glob("*/*") if path not in wanted]
    if check:
        for path in stale + extra:
            print(f"{path.relative_to(ROOT)} is stale: run helm/generate.py", file=sys.stderr)
        return 1 if stale or extra else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(ROOT)}")
    for path in extra:
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
