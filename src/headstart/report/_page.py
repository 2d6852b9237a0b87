"""The pieces of the page: safe text, numbers, tables, sections, the shell.

Every function returns markup that is safe to join. Whatever comes from data goes through ``text`` or ``attribute`` (or
``picture``, for what an input kind showed) and nothing else.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from headstart.report._style import STYLE

MINUS = "\u2212"
NONE = "\u2013"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_TITLE_LIMIT = 300
_PLACE = re.compile(r"(?<![\w/.])(?:/(?:[^\s/'\"<>|:;,()]+/)+|[A-Za-z]:\\(?:[^\\/'\"<>|:;,\n]+\\)+)")
_TURNING = frozenset("\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(value: Any) -> str:
    """``value`` as text in which nothing hides: control, direction-turning and lone surrogate characters are spelled out."""
    characters = str(value)
    if characters.isprintable():
        return characters
    hidden = ("Cc", "Cs")
    return "".join(ascii(one)[1:-1] if one in _TURNING or unicodedata.category(one) in hidden else one for one in characters)


def attribute(value: Any, *, limit: int = _TITLE_LIMIT) -> str:
    """``value`` for an attribute in double quotes, cut at ``limit``."""
    return html.escape(_cut(visible(str(value)[: limit + 1]), limit))


def text(value: Any, *, limit: int = 64) -> str:
    """``value`` for the page. What is longer than ``limit`` is cut, and can be read in the tooltip up to a bound."""
    bounded = str(value)[: _TITLE_LIMIT + 1] if limit <= _TITLE_LIMIT else str(value)[: limit + 1]
    seen = visible(bounded)
    if len(seen) <= limit:
        return html.escape(seen, quote=False)
    return f'<span title="{attribute(value)}">{html.escape(_cut(seen, limit), quote=False)}</span>'


def message(value: Any, *, limit: int = 400) -> str:
    """A message for the page, with folders of this machine left out: ``/home/ann/photos/a.jpg`` becomes ``…/a.jpg``."""
    return text(_PLACE.sub("\u2026/", str(value)[:2000]), limit=limit)


def number(value: Any, *, decimals: int = 3) -> str:
    """A score with fixed decimals and a real minus; a dash when there is none."""
    if not _finite(value):
        return NONE
    return _minus(f"{float(value):.{decimals}f}")


def signed(value: Any, *, decimals: int = 3) -> str:
    """A difference: always with its sign, and no sign on a zero."""
    if not _finite(value):
        return NONE
    shown = f"{float(value):+.{decimals}f}"
    return shown[1:] if float(shown) == 0 else _minus(shown)


def span(low: Any, high: Any, *, sign: bool = False) -> str:
    """An interval in words: ``0.857 to 0.921``."""
    form = signed if sign else number
    return f'<span class="nowrap">{form(low)} to {form(high)}</span>'


def counted(value: Any) -> str:
    """A count with thin spaces; one decimal when it is a mean."""
    if not _finite(value):
        return NONE
    whole = abs(float(value) - round(float(value))) < 0.05
    return f"{float(value):,.{0 if whole else 1}f}".replace(",", "\u202f")


def plural(count: int, one: str, many: str = "") -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{counted(count)} {one if count == 1 else many or one + 's'}"


def duration(seconds: Any) -> str:
    """``0.4 s``, ``12 s``, ``4 min 12 s``, ``1 h 05 min``."""
    if not _finite(seconds):
        return NONE
    seconds = float(seconds)
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def amount(value: Any, units: Sequence[str], *, step: float = 1000.0) -> str:
    """``value`` in the unit that leaves one to three digits before the point: bytes, parameters."""
    if not _finite(value) or float(value) <= 0:
        return NONE
    value, place = float(value), 0
    while value >= step and place < len(units) - 1:
        value, place = value / step, place + 1
    return f"{value:.{0 if place == 0 or value >= 100 else 1}f}\u00a0{units[place]}".rstrip("\u00a0")


def memory(value: Any) -> str:
    """A size in bytes, in the unit that suits it."""
    return amount(value, ("B", "kB", "MB", "GB", "TB"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: str = "", label: str = "", kind: str = "") -> str:
    """A table of markup cells. ``numeric`` has one letter a column: ``n`` right-aligned figures, ``w`` wide, else text.

    The first cell of a row is its heading. A row may carry a class: ``[("won", cells), …]`` is written as a leading
    cell ``"@won"``.
    """
    forms = numeric.ljust(len(head), "-")
    classes = {"n": ' class="num"', "w": ' class="wide"', "-": ""}
    top = "".join(f'<th scope="col"{classes[form]}>{name}</th>' for name, form in zip(head, forms, strict=True))
    body = []
    for row in rows:
        mark = f' class="{row[0][1:]}"' if row[0].startswith("@") else ""
        cells = list(row[1:] if mark else row)
        inner = "".join(f"<td{classes[form]}>{cell}</td>" for cell, form in zip(cells[1:], forms[1:], strict=True))
        body.append(f'<tr{mark}><th scope="row">{cells[0]}</th>{inner}</tr>')
    caption = f"<caption><span>{label}</span></caption>" if label else ""
    return (
        f'<div class="scroll" tabindex="0" role="group"{_labelled(label)}><table class="{kind or "plain"}">{caption}'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def cell(count: float, share: float, *, right: bool) -> str:
    """A cell of a matrix of counts, the darker the larger its ``share`` of the row."""
    if count <= 0 and not right:
        return '<td class="zero">·</td>'
    kinds = " ".join(kind for kind, on in (("right", right), ("dark", share > 0.55)) if on)
    return f'<td{f" class={kinds!r}" if kinds else ""} style="--v:{0.08 + 0.87 * share:.2f}">{counted(count)}</td>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A strip of small named figures."""
    inner = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs if value)
    return f'<dl class="facts">{inner}</dl>'


def paragraphs(*parts: str) -> str:
    """Each part that is not empty as a paragraph; the parts are markup already."""
    return "".join(f"<p>{part}</p>" for part in parts if part)


def note(content: str) -> str:
    """A quiet remark, or nothing."""
    return f'<p class="note">{content}</p>' if content else ""


def code(lines: str) -> str:
    """Lines to copy, as they are: nothing is cut."""
    shown = "\n".join(html.escape(visible(line), quote=False) for line in lines.split("\n"))
    return f"<pre><code>{shown}</code></pre>"


def listing(lines: Sequence[str]) -> str:
    """A bulleted list of markup lines, or nothing."""
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""


def folded(summary: str, content: str) -> str:
    """Content that opens on a click, without a script."""
    return f"<details><summary>{summary}</summary>{content}</details>"


def section(key: str, title: str, content: str, *, aside: str = "") -> str:
    """A part of the report: heading and remark at the side, content beside them. Nothing when there is no content."""
    if not content:
        return ""
    remark = f'<p class="aside">{aside}</p>' if aside else ""
    return (
        f'<section id="{key}" aria-labelledby="{key}-title"><header><h2 id="{key}-title">{title}</h2>{remark}</header>'
        f'<div class="body">{content}</div></section>'
    )


def contents(sections: Sequence[str]) -> str:
    """Links to the sections that are there."""
    found = re.findall(r'<section id="([a-z-]+)".*?<h2 id="[a-z-]+">(.*?)</h2>', "".join(sections), re.DOTALL)
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title in found)
    return f'<nav aria-label="Sections">{links}</nav>' if links else ""


def page(title: str, content: str) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{html.escape(_cut(visible(title), 120))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{content}\n"
        "</body>\n</html>\n"
    )


def picture(markup: Any) -> str:
    """What an input kind showed, rebuilt from known tags and attributes only.

    A run folder can come from someone else, so its markup is not believed: anything else in it is dropped.
    """
    reader = _Known()
    reader.feed(str(markup))
    reader.close()
    return reader.result()


class _Known(HTMLParser):
    """Keeps the elements that show one item and forgets the rest, scripts and styles with their text."""

    TAGS = frozenset(
        ("img", "figure", "figcaption", "span", "div", "p", "pre", "code", "mark", "b", "i", "em", "strong", "small", "br")
    ) | {*("ul", "ol", "li", "table", "tbody", "thead", "tr", "th", "td")}
    VOID = frozenset(("img", "br"))
    ATTRIBUTES = frozenset(["alt", "title", "width", "height", "colspan", "rowspan"])
    VALUES = frozenset(  # the classes of a shown text, and the direction of writing
        [("dir", "auto"), *(("class", name) for name in ("text", "tagged", "right", "missed", "false", "wrong"))]
    )
    IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=\s]+\Z")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[str] = []
        self.dropped = 0  # depth inside an element whose text is no text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "template", "iframe", "object"):
            self.dropped += 1
        if tag not in self.TAGS or self.dropped:
            return
        kept = [(name, value or "") for name, value in attrs if name in self.ATTRIBUTES or (name, value) in self.VALUES]
        source = dict(attrs).get("src") or ""
        if tag == "img":
            if not self.IMAGE.match(source):
                return
            kept = (
                [("src", source), *kept] if any(name == "alt" for name, _ in kept) else [("src", source), ("alt", ""), *kept]
            )
        inner = "".join(f' {name}="{html.escape(visible(value))}"' for name, value in kept)
        self.parts.append(f"<{tag}{inner}>")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "template", "iframe", "object"):
            self.dropped = max(0, self.dropped - 1)
        if tag in self.open:
            while self.open[-1] != tag:
                self.parts.append(f"</{self.open.pop()}>")
            self.parts.append(f"</{self.open.pop()}>")

    def handle_data(self, data: str) -> None:
        if not self.dropped:
            self.parts.append(html.escape(data, quote=False))

    def result(self) -> str:
        return "".join(self.parts) + "".join(f"</{tag}>" for tag in reversed(self.open))


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _minus(shown: str) -> str:
    return shown.replace("-", MINUS)


def _cut(shown: str, limit: int) -> str:
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "\u2026"


def _labelled(label: str) -> str:
    return f' aria-label="{html.escape(html.unescape(re.sub(r"<[^>]+>", "", label)))}"' if label else ""
