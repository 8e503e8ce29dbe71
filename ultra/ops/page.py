"""The parts a report's page is built of, and their look: tiles, sections, tables, figures, one style sheet.

One palette for light and one for dark, chosen by the reader's system. Blue and orange (after Okabe and Ito)
are told apart by all common kinds of colour vision, and no meaning rests on colour alone. Each chart is there
twice, for a desk and for a phone; a media query shows one. A figure keeps every digit it came with.

Known bad case: a browser older than 2020 shows the light palette only.
"""

import re
from collections.abc import Sequence
from typing import Final

from . import svg
from .svg import Markup, tag, text

ABSENT: Final = "\u2014"


def amount(value: object) -> Markup:
    """A figure with its digits grouped, exact; its sign sets the colour of a decimal string."""
    if isinstance(value, bool) or value is None:
        return text(ABSENT if value is None else "yes" if value else "no")
    if isinstance(value, float):
        return text(svg.number(value, 0 if abs(value) >= 100 else 2))
    raw = str(value)
    sign, digits = ("-", raw[1:]) if raw.startswith("-") else ("", raw)
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?", digits):
        return text(raw)
    whole, dot, rest = digits.partition(".")
    shown = text(sign + re.sub(r"\B(?=(...)+$)", ",", whole) + dot + rest)
    if isinstance(value, int):
        return shown
    kind = "even" if not digits.strip("0.") else "down" if sign else "up"
    return tag("data", shown, value=raw, class_=kind)


def tile(name: str, *shown: Markup) -> Markup:
    """A name above its figure."""
    return tag("div", tag("dt", text(name)), tag("dd", *shown), class_="tile")


def section(title: str, *content: Markup) -> Markup:
    """A card with a heading."""
    return tag("section", tag("h2", text(title)), *content)


def says(*sentences: str) -> Markup:
    """A caption of the sentences that aren't empty; nothing if all are."""
    said = " ".join(sentence for sentence in sentences if sentence)
    return tag("p", text(said), class_="says") if said else text("")


def table(names: Sequence[str], rows: Sequence[Sequence[Markup]], foot: Sequence[Markup] = ()) -> Markup:
    """A table whose first column is words and whose others are figures."""
    head = tag("thead", tag("tr", *[tag("th", text(name), scope="col") for name in names]))
    lines = [tag("tr", tag("th", row[0], scope="row"), *[tag("td", cell) for cell in row[1:]]) for row in rows]
    end = [tag("tfoot", tag("tr", *[tag("td", cell) for cell in foot]))] if foot else []
    return tag("div", tag("table", head, tag("tbody", *lines), *end), class_="scroll")


CSS: Final = """
:root{color-scheme:light dark;--page:#f4f5f6;--card:#fff;--ink:#1a1d20;--soft:#5b6269;--rule:#e6e8ea;
--axis:#9aa1a8;--blue:#0072b2;--pale:#cfe3f1;--bar:#6aaed6;--orange:#b84a00;--tint:#fdf1e7}
@media (prefers-color-scheme:dark){:root{--page:#111417;--card:#191d21;--ink:#e7eaed;--soft:#9ba4ad;
--rule:#2a3036;--axis:#5f6870;--blue:#62b5ec;--pale:#1f3a4d;--bar:#3f83b0;--orange:#f0954a;--tint:#2a211a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0 0 .8rem}
section,.tile{background:var(--card);border:1px solid var(--rule);border-radius:6px}
section{padding:1rem 1.1rem;margin-top:1rem}
.ran{display:flex;flex-wrap:wrap;gap:.1rem 1.4rem;margin:0 0 1rem;color:var(--soft);overflow-wrap:anywhere}
.ran span{min-width:0}
.ran b{font-weight:400;color:var(--soft)}
.ran span{color:var(--ink)}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:0}
.tile{padding:.55rem .9rem;flex:1 1 auto;min-width:6rem}
dt{color:var(--soft);font-size:.8rem}
.tile dd{margin:0;font-size:1.25rem;font-weight:600;line-height:1.35;overflow-wrap:anywhere}
.tile dd span{white-space:nowrap;margin-right:1rem}
small{font-size:.8rem;font-weight:400;color:var(--soft)}
.up{color:var(--blue)}.down{color:var(--orange)}
.says{margin:.7rem 0 0;color:var(--soft);font-size:.87rem;max-width:48rem}
.scroll{overflow-x:auto}.says+.scroll{margin-top:1rem}
table{border-collapse:collapse;min-width:min(100%,28rem)}
th,td{padding:.28rem 0 .28rem 1.6rem;text-align:right;font-weight:400;white-space:nowrap;
border-bottom:1px solid var(--rule)}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{color:var(--soft);font-size:.8rem}
tfoot td{font-weight:600;border-bottom:0}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:0}
.facts dd{margin:0;min-width:0}
code{font:.87rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere}
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
svg .name,svg .label{fill:var(--soft)}
svg .name{fill:var(--ink)}
.rule{stroke:var(--rule)}.axis{stroke:var(--axis)}
.rule,.axis,.mark,.hiccup{stroke-width:1;shape-rendering:crispEdges}
.profit,.held{fill:none;stroke:var(--blue);stroke-width:1.4;stroke-linejoin:round;stroke-linecap:round}
.held{stroke-width:1}.area{fill:var(--pale)}.last{fill:var(--blue)}
.bar{fill:var(--bar)}.beyond{fill:var(--tint)}
.mark{stroke:var(--ink)}.hiccup{stroke:var(--orange);stroke-dasharray:4 3}
.mark-label,.hiccup-label{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:4px;
stroke-linejoin:round}
.hiccup-label{fill:var(--orange)}
.phone{display:none}
@media (max-width:640px){main{padding:1rem .6rem 2rem}section{padding:.8rem .7rem}.desk{display:none}
.phone{display:block}.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:.5rem}
th,td{padding-left:.9rem}table{font-size:.9rem}}
"""
