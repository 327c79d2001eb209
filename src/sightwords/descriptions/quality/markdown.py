"""Markdown as plain sentences."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

_ANY = re.compile(r"[\n\r*_`#\[|<&•~\\]")
_ANY_AHEAD = re.compile(r"\s*(?:[-+>–·▪●◦]|\d{1,2}[.)])\s")
_INLINE = (
    (re.compile(r"<br ?/?>|</?(?:p|div|ul|ol|h[1-6]|blockquote|pre|table|tr)(?: [^<>]{0,200})?>", re.IGNORECASE), "\n"),
    (re.compile(r"<li(?: [^<>]{0,200})?>", re.IGNORECASE), "\n- "),
    (
        re.compile(
            r"</?(?:b|i|u|em|strong|span|code|li|sub|sup|small|mark|td|th|del)(?: [^<>]{0,200})?>", re.IGNORECASE
        ),
        "",
    ),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?: \"[^\"\n]*\")?\)"), r"\1"),
    (re.compile(r"<https?://[^<>\s]*>"), ""),
    (re.compile(r"(?m)^[ \t]*(?:`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*$"), ""),
    (re.compile(r"`{3,}|~~+|\*\*+|(?<!\w)__+|__+(?!\w)"), ""),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
    (re.compile(r"(?<![\w\\])\*(?=\S)([^*\n]+)(?<=\S)\*(?!\w)"), r"\1"),
    (re.compile(r"(?<![\w\\])_(?=\S)([^_\n]+)(?<=\S)_(?!\w)"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|>~-])"), r"\1"),
    (re.compile(r"(?<=\S) +(?=[•●▪◦] )"), "\n"),
)
_ENTITIES = {"&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&apos;": "'", "&lt;": "<", "&gt;": ">", "&amp;": "&"}
_BULLET = re.compile(r"[-*+•‣◦▪●–—·∙]\s+|[a-z]\)\s+")
_NUMBER = re.compile(r"\(?(\d{1,3})[.)]\s+(?=\S)")
_HEADING = re.compile(r"#{1,6}\s+")
_RULE = frozenset("-*_= ")
_TABLE_RULE = frozenset("|-: ")
_FULL_WIDTH = ("。", "！", "？")
_CLOSERS = "\"'”’»)]』」）"
_HAN_AND_KANA = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def plain_lines(text: str) -> list[str]:
    """Return the lines of a text without its inline markdown; none where the text is one plain line."""
    if not _ANY.search(text) and not _ANY_AHEAD.match(text):
        return []
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    if "&" in text:
        for entity, character in _ENTITIES.items():
            text = text.replace(entity, character)
    return text.splitlines()


def plain_sentences(lines: list[str], complete: bool = True) -> str:
    """Return lines of markdown as sentences: headings, list items, table rows and paragraphs get a full stop.

    Args:
        lines: lines without inline markdown.
        complete: whether the last line is the end; otherwise it gets no full stop.
    """
    blocks = _blocks(lines)
    if len(blocks) < 2:
        return "".join(blocks)
    ended = map(_with_stop, blocks[:-1])
    last = _with_stop(blocks[-1]) if complete else blocks[-1]
    return "".join(block if block.endswith(_FULL_WIDTH) else block + " " for block in ended) + last


def _blocks(lines: list[str]) -> list[str]:
    """Return the paragraphs, headings, list items and rows; a line in lower case goes on with the one before."""
    blocks: list[str] = []
    numbered = sum(1 for line in lines if _NUMBER.match(line.lstrip())) > 1
    goes_on = was_row = False
    for raw in lines:
        line = raw.strip().lstrip("> ")
        if not line or _is_rule(line):
            if was_row and "|" in line and blocks:
                blocks.pop()  # the header of a table, which the rows say again
            goes_on = was_row = False
            continue
        was_row = line.startswith("|")
        text, is_item = _plain_line(line, numbered)
        if goes_on and not is_item and not was_row and line[0].islower():
            blocks[-1] += " " + text
        elif text:
            blocks.append(text)
        goes_on = bool(blocks) and not was_row
    return blocks


def _is_rule(line: str) -> bool:
    signs = set(line)
    return len(line) > 2 and ("-" in signs or len(signs - {" "}) == 1) and (signs <= _RULE or signs <= _TABLE_RULE)


def _plain_line(line: str, numbered: bool) -> tuple[str, bool]:
    """Return a line without the marks at its start, and whether it had any."""
    if line.startswith("|"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        first, *others = [cell for cell in cells if cell] or [""]
        return (f"{first}: {', '.join(others)}" if others else first), True
    if heading := _HEADING.match(line):
        return line[heading.end() :].rstrip("# "), True
    if bullet := _BULLET.match(line):
        line = line[bullet.end() :]
        return (line[4:] if line.startswith(("[ ] ", "[x] ")) else line), True
    number = _NUMBER.match(line)
    if number and (numbered or number[1] == "1"):
        return line[number.end() :], True
    return line, False


def _with_stop(block: str) -> str:
    bare = block.rstrip(_CLOSERS)
    last = bare[-1:] or block[-1]
    if _HAN_AND_KANA.match(last):
        return block + "。"
    has_case_or_digit = last.isdigit() or last.lower() != last.upper() or last in "%°"
    return block + "." if has_case_or_digit else block
