"""Charts, drawn by hand.

Across, everything stands at percentages of the width; down, at fixed pixels. So a chart fills a phone or a page and its
letters keep their size. Colours are classes (``with``, ``without``), so that dark mode and print can change them; what
colour tells is told by shape or hatching too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.features import Profile
from headstart.report._page import attribute, number, signed

_TOP, _FOOT = 36, 236  # the layer chart, from its upper edge


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` laid across ``left`` to ``right`` per cent."""

    low: float
    high: float
    left: float = 2.0
    right: float = 98.0

    @classmethod
    def around(cls, values: Sequence[float | None], *, left: float = 2.0, right: float = 98.0, room: float = 0.06) -> Scale:
        """A scale that holds every finite value, with some room at the ends."""
        found = [float(value) for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
        low, high = min(found), max(found)
        pad = (high - low) * room or max(abs(high), 1.0) * 0.05
        return cls(low - pad, high + pad, left, right)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.left + (self.right - self.left) * min(1.0, max(0.0, share))

    def x(self, value: float) -> str:
        return f"{self.at(value):.2f}%"

    def ticks(self, *, about: float = 5) -> list[float]:
        """Round values inside the scale."""
        raw = (self.high - self.low) / max(1, about)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(index * step, 10) for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Gain:
    """One line of the gain chart: what it is of, the gain with its interval, and the gains of single refits."""

    label: str
    value: float
    low: float
    high: float
    refits: tuple[float, ...] = ()

    @property
    def told(self) -> str:
        return f"{self.label}: {signed(self.value)} ({signed(self.low)} to {signed(self.high)})"


def gain(rows: Sequence[Gain], *, margin: float, ends: tuple[str, str]) -> str:
    """Gains with their intervals against zero and the margin zone, the main one first. ``ends`` names the two sides."""
    reach = [limit for row in rows for limit in (row.value, row.low, row.high, *row.refits)]
    scale = Scale.around([*reach, -margin, margin, 0.0], left=3, right=97)
    top, step = 24, 48
    foot = top + step * len(rows)
    parts = [*_zone(scale, margin, top, foot), _line("zero", scale.x(0), top - 6, foot)]
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{foot}" y2="{foot}"/>')
    for value in scale.ticks():
        parts += [_line("axis", scale.x(value), foot, foot + 4), _label(scale, value, foot + 18, signed(value, decimals=2))]
    for place, row in enumerate(rows):
        parts += _whisker(scale, row, y=top + step * place + 32, main=place == 0)
    parts += [
        f'<text class="small" x="0" y="{foot + 38}">◂ {attribute(ends[0], limit=24)}</text>',
        f'<text class="small" x="100%" y="{foot + 38}" text-anchor="end">{attribute(ends[1], limit=24)} ▸</text>',
    ]
    told = f"Gain with its interval. {'; '.join(row.told for row in rows)}. Margin ±{number(margin, decimals=2)}."
    return _chart("gain", foot + 44, told, parts)


def _zone(scale: Scale, margin: float, top: int, foot: int) -> list[str]:
    width = scale.at(margin) - scale.at(-margin)
    words = f"no difference worth having: ±{number(margin, decimals=2)}"
    return [
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="zone" width="6" height="6"/><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>',
        f'<rect x="{scale.x(-margin)}" y="{top - 6}" width="{width:.2f}%" height="{foot - top + 6}" fill="url(#hatch)"/>',
        f'<text class="small" x="{scale.x(0)}" y="11" text-anchor="{_anchor(scale.at(0), edge=30)}">{words}</text>',
    ]


def _whisker(scale: Scale, row: Gain, *, y: int, main: bool) -> list[str]:
    weight = "strong" if main else "weak"
    middle = scale.at(row.value)
    anchor = _anchor(middle, edge=36)
    start = {"start": scale.at(row.low), "end": scale.at(row.high)}.get(anchor, middle)
    return [
        f'<text class="label" x="{start:.2f}%" y="{y - 14}" text-anchor="{anchor}">{attribute(row.told, limit=90)}</text>',
        *(_line("refit", scale.x(value), y - 5, y + 5) for value in row.refits[:60]),
        f'<line class="whisker {weight}" x1="{scale.x(row.low)}" x2="{scale.x(row.high)}" y1="{y}" y2="{y}"/>',
        _line(f"cap {weight}", scale.x(row.low), y - 6, y + 6),
        _line(f"cap {weight}", scale.x(row.high), y - 6, y + 6),
        f'<circle class="point {weight}" cx="{scale.x(row.value)}" cy="{y}" r="{6 if main else 4.5}"/>',
    ]


def interval(scale: Scale, value: float, low: float, high: float, *, side: str) -> str:
    """One score with its interval, for a table cell."""
    parts = [
        *_grid(scale, 22),
        f'<line class="whisker {side}" x1="{scale.x(low)}" x2="{scale.x(high)}" y1="11" y2="11"/>',
        _line(f"cap {side}", scale.x(low), 7, 15),
        _line(f"cap {side}", scale.x(high), 7, 15),
        _mark(side, scale.x(value), 11),
    ]
    return _chart("mini", 22, f"{number(value)}, from {number(low)} to {number(high)}", parts)


def strip(scale: Scale, values: Sequence[float], mean: float, *, side: str) -> str:
    """Every fold's score as a tick and their mean as a mark, for a table cell."""
    parts = [*_grid(scale, 22)]
    parts += [_line(f"fold {side}", scale.x(value), 6, 16) for value in values[:60]]
    parts.append(_mark(side, scale.x(mean), 11))
    low, high = (min(values), max(values)) if values else (mean, mean)
    return _chart("mini", 22, f"Mean {number(mean)}; folds from {number(low)} to {number(high)}", parts)


def pair(scale: Scale, ours: float | None, other: float | None, *, sides: tuple[str, str]) -> str:
    """Two scores on one line, for a table cell."""
    found = [(value, side) for value, side in ((other, sides[1]), (ours, sides[0])) if value is not None]
    parts = [*_grid(scale, 22)]
    if len(found) == 2:
        parts.append(f'<line class="between" x1="{scale.x(found[0][0])}" x2="{scale.x(found[1][0])}" y1="11" y2="11"/>')
    parts += [_mark(side, scale.x(value), 11) for value, side in found]
    return _chart("mini", 22, " and ".join(number(value) for value, _ in reversed(found)), parts)


def ruler(scale: Scale) -> str:
    """The numbers over a column of small charts."""
    parts = [_label(scale, value, 11, number(value, decimals=2)) for value in scale.ticks(about=3.5)]
    return _chart("mini", 14, f"Scale from {number(scale.low)} to {number(scale.high)}", parts)


def sample(side: str) -> str:
    """The mark of one side, for a key."""
    return f'<svg width="12" height="12" aria-hidden="true">{_mark(side, "50%", 6)}</svg>'


def bar(share: float, *, told: str) -> str:
    """A plain bar, for a table cell."""
    width = 100 * min(1.0, max(0.0, share))
    return _chart("mini", 14, told, [f'<rect class="bar" x="0" y="3" width="{max(width, 0.4):.2f}%" height="8" rx="1"/>'])


def profile(found: Profile, *, metric: str) -> str:
    """Score by depth with its error band; the tap that is read and the cut are marked and named."""
    scores = sorted(found.scores, key=lambda one: one.depth)
    across = Scale(0.0, 1.0, 9, 97)
    limits = [one.score + sign * (one.score_error or 0.0) for one in scores for sign in (-1, 1)]
    upward = Scale.around(limits, left=_FOOT, right=_TOP)
    upper = [(one.depth, one.score + (one.score_error or 0.0)) for one in scores]
    lower = [(one.depth, one.score - (one.score_error or 0.0)) for one in reversed(scores)]
    curve = [(one.depth, one.score) for one in scores]
    parts = [
        *_frame(across, upward),
        f'<svg x="9%" y="{_TOP}" width="88%" height="{_FOOT - _TOP}" viewBox="0 0 1000 {_FOOT - _TOP}" '
        'preserveAspectRatio="none">',
        f'<path class="error" d="{_path([*upper, *lower], upward)}Z"/>',
        f'<path class="curve" d="{_path(curve, upward)}"/></svg>',
        *_marks(found, across),
    ]
    for one in scores:
        kind = "read" if one.tap == found.read else "cut" if one.place == found.cut else ""
        tip = f"{attribute(one.tap)}: {number(one.score)} ± {number(one.score_error)}"
        parts.append(
            f'<circle class="tap {kind}" cx="{across.x(one.depth)}" cy="{upward.at(one.score):.1f}" '
            f'r="{5.5 if kind else 3}"><title>{tip}</title></circle>'
        )
    told = f"{metric} at {len(scores)} layers, from input to output; read at {found.read}, frozen up to {found.cut}"
    return _chart("profile", _FOOT + 24, told, parts)


def similarity(found: Profile) -> str:
    """How alike any two layers are: a square of fields, full colour for 1 and none for 0, from input to output both ways."""
    names, step, top = [one.tap for one in found.scores], 16, 18
    left, wide = 22.0, 76.0 / len(names)
    parts = [
        f'<text class="small" x="{left}%" y="11">input</text>',
        '<text class="small" x="98%" y="11" text-anchor="end">output</text>',
    ]
    for down, (name, row) in enumerate(zip(names, found.similarity, strict=True)):
        y = top + step * down
        parts.append(
            f'<text class="small" x="{left - 1}%" y="{y + 12}" text-anchor="end">{attribute(name, limit=12)}</text>'
        )
        for across, value in enumerate(row):
            tip = f"{attribute(name)} and {attribute(names[across])}: {number(value, decimals=2)}"
            parts.append(
                f'<rect class="dot with" x="{left + wide * across:.2f}%" y="{y}" width="{wide:.2f}%" height="{step}" '
                f'opacity="{min(1.0, max(0.0, value)):.2f}"><title>{tip}</title></rect>'
            )
    told = f"Linear CKA between {len(names)} layers, from input to output"
    return _chart("profile", top + step * len(names) + 4, told, parts)


def _frame(across: Scale, upward: Scale) -> list[str]:
    parts = [f'<line class="axis" x1="9%" x2="97%" y1="{_FOOT}" y2="{_FOOT}"/>']
    for value in upward.ticks():
        y = upward.at(value)
        parts += [
            f'<line class="grid" x1="9%" x2="97%" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="small" x="8%" y="{y + 4:.1f}" text-anchor="end">{number(value, decimals=2)}</text>',
        ]
    for depth, word in ((0.0, "input"), (0.25, "¼"), (0.5, "half way"), (0.75, "¾"), (1.0, "output")):
        anchor = {0.0: "start", 1.0: "end"}.get(depth, "middle")
        parts.append(f'<text class="small" x="{across.x(depth)}" y="{_FOOT + 18}" text-anchor="{anchor}">{word}</text>')
    return parts


def _marks(found: Profile, across: Scale) -> list[str]:
    """Lines at the tap that is read (named above) and at the cut (named below)."""
    named = [("cut", found.cut, "frozen up to", _FOOT - 8), ("read", found.read, "read at", 14)]
    depths = {one.tap: one.depth for one in found.scores} | {one.place: one.depth for one in found.scores}
    if found.cut and depths.get(found.cut) == depths.get(found.read):
        named = [("read", found.read, "frozen up to, and read at,", 14)]
    parts = []
    for kind, tap, word, y in named:
        if tap not in depths:
            continue
        late = depths[tap] > 0.5
        parts += [
            _line(f"mark {kind}", across.x(depths[tap]), 20 if kind == "read" else _TOP, _FOOT),
            f'<text class="label" x="{across.x(depths[tap])}" dx="{-6 if late else 6}" y="{y}" '
            f'text-anchor="{"end" if late else "start"}">{word} {attribute(tap, limit=28)}</text>',
        ]
    return parts


def _path(points: Sequence[tuple[float, float]], upward: Scale) -> str:
    return "M" + "L".join(f"{1000 * depth:.1f} {upward.at(value) - _TOP:.2f}" for depth, value in points)


def _grid(scale: Scale, height: int) -> list[str]:
    return [_line("grid", scale.x(value), 0, height) for value in scale.ticks(about=4)]


def _mark(side: str, x: str, y: int) -> str:
    # The side with the ingredient is a full dot, the one without a hollow one: colour is not needed to tell them apart.
    return f'<circle class="dot {side}" cx="{x}" cy="{y}" r="4.5"/>'


def _line(kind: str, x: str, top: float, foot: float) -> str:
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{foot}"/>'


def _label(scale: Scale, value: float, y: float, shown: str) -> str:
    return f'<text class="small" x="{scale.x(value)}" y="{y}" text-anchor="{_anchor(scale.at(value))}">{shown}</text>'


def _anchor(place: float, *, edge: float = 8) -> str:
    return "start" if place < edge else "end" if place > 100 - edge else "middle"


def _chart(kind: str, height: int, told: str, parts: Sequence[str]) -> str:
    """The drawing, with ``told`` for those who cannot see it."""
    title = f"<title>{attribute(told, limit=600)}</title>"
    return f'<svg class="{kind}" role="img" width="100%" height="{height}">{title}{"".join(parts)}</svg>'
