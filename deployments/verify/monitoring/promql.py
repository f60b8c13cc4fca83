"""Reads as much of PromQL as is needed to say which metrics and labels an expression names."""

import re

WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "start", "end", "Inf", "NaN", "inf", "nan"}
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|\[[^\]]*\]|[A-Za-z_:][A-Za-z0-9_:]*|[0-9][0-9a-z.]*|=~|!~|!=|==|>=|<=|.', re.S)


class Named:
    """What an expression names: `metrics` as (name, labels in its selector), `labels` that stand in lists."""

    def __init__(self):
        self.metrics, self.labels, self.made = [], set(), set()


def read(expr):
    tokens = [token for token in TOKEN.findall(expr) if not token.isspace()]
    named, at = Named(), 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in LISTS and following == "(":
            end = tokens.index(")", at)
            named.labels.update(each for each in tokens[at + 2:end] if each != ",")
            at = end
        elif token == "label_replace":
            named.made.update(_made(tokens, at))
        elif re.match(r"[A-Za-z_:]", token) and token not in WORDS and following not in ("(", "by", "without"):
            labels, end = set(), at
            if following == "{":
                end = tokens.index("}", at)
                labels = {each for each, after in zip(tokens[at + 2:end], tokens[at + 3:end + 1]) if after in ("=", "=~", "!=", "!~")}
            named.metrics.append((token, labels))
            at = end
        at += 1
    return named


def _made(tokens, at):
    """The label that a label_replace writes, and the one it reads: its second and fourth argument."""
    depth, arguments = 0, 0
    for token in tokens[at + 1:]:
        if token in "([{":
            depth += 1
        elif token in ")]}":
            depth -= 1
            if depth == 0:
                return
        elif token == "," and depth == 1:
            arguments += 1
        elif depth == 1 and token.startswith('"') and arguments == 1:
            yield token.strip('"')
