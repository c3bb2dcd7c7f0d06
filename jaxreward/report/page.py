"""The parts an HTML page is made of: a page needs no other file and asks no server for anything."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from jaxreward.report.script import SCRIPT

_MADE_BY = '<meta name="generator" content="jaxreward">'
_STYLE = """
:root { color-scheme: light dark; --text: #222; --page: #fff; --soft: #666; --line: #e4e4e4; --strong: #888;
  --block: #f5f5f5; --link: #0b57d0; --met: #e2f3e5; --met-text: #14591f; --not-met: #fde5e3; --not-met-text: #8c1d18;
  --open: #fdf0d5; --open-text: #6b4700; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e3e3; --page: #161616; --soft: #a5a5a5; --line: #333;
  --strong: #777; --block: #222; --link: #8ab4f8; --met: #17351d; --met-text: #a5dbae; --not-met: #471a17;
  --not-met-text: #f5b8b2; --open: #43340f; --open-text: #f0d28c; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; } h3 { font-size: 1rem; margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .5rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; } th.column { border-bottom: 1px solid var(--strong); }
td { white-space: nowrap; } th.text, td.text, td.fact { text-align: left; white-space: normal; }
td.text { min-width: 7rem; } td.fact { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.drawing { background: #fff; padding: .4rem; margin: .5rem 0; border-radius: 6px; width: fit-content; max-width: 100%; }
.drawing { overflow-x: auto; } .drawing svg, .drawing img { display: block; max-width: max(100%, 34rem); height: auto; }
.failed { background: var(--not-met); border-left: 4px solid #b3261e; padding: .4rem .8rem; }
.note, .why { color: var(--soft); font-size: .9rem; } .note { max-width: 50rem; }
.why { display: block; }
.badge { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .85rem; white-space: nowrap; }
.badge.met { background: var(--met); color: var(--met-text); }
.badge.not-met { background: var(--not-met); color: var(--not-met-text); }
.badge.not-decidable { background: var(--open); color: var(--open-text); }
pre { background: var(--block); padding: .8rem; overflow-x: auto; font-size: .8rem; }
th[aria-sort] { text-decoration: underline; } th[title] { cursor: pointer; }
th[aria-sort="ascending"]::after { content: " \\2191"; } th[aria-sort="descending"]::after { content: " \\2193"; }
input[type="search"] { font: inherit; font-size: .9rem; color: inherit; background: var(--block); padding: .2rem .5rem;
  border: 1px solid var(--line); border-radius: 4px; width: 18rem; max-width: 100%; }
summary { cursor: pointer; margin: .3rem 0; }
@media (max-width: 44rem) {
  .cards table, .cards tbody, .cards tr, .cards td { display: block; text-align: left; white-space: normal; }
  .cards tr { padding: .5rem 0; border-bottom: 1px solid var(--strong); } .cards td { border: 0; }
  .cards tr:first-child { display: none; } .cards td::before { content: attr(data-column) ": "; color: var(--soft); }
}
"""


class Html(str):
    """Text that is HTML already; any other is escaped."""


def document(title: str, body: Iterable[str]) -> str:
    """A page."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{_MADE_BY}\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        + "\n".join(part for part in body if part)
        + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def is_document(path: Path) -> bool:
    """Whether a file is a page that `document` made."""
    return path.is_file() and _MADE_BY.encode() in path.read_bytes()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], text: Collection[str] = (), cards: bool = False
) -> str:
    """A table that scrolls by itself where the page is too narrow, and sorts and filters, see `script`.

    Args:
        columns: What is above each column.
        rows: Their cells.
        text: The columns of sentences and names, which start at the left; numbers end at the right.
        cards: Whether rows become blocks of lines on a narrow page, in place of scrolling.
    """
    kinds = [' class="text"' if name in text else "" for name in columns]
    names = [f' data-column="{html.escape(name)}"' if cards else "" for name in columns]
    head = "".join(f'<th class="column{" text" * (n in text)}">{html.escape(n)}</th>' for n in columns)
    openings = [f"<td{kind}{name}>" for kind, name in zip(kinds, names, strict=True)]
    lines = ("".join(f"{td}{escape(cell)}</td>" for td, cell in zip(openings, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll{" cards" * cards}"><table><tr>{head}</tr>{body}</table></div>'


def facts(entries: dict[str, object]) -> str:
    """What is known of something, a line each."""
    rows = (f'<tr><th>{html.escape(k)}</th><td class="fact">{escape(str(v))}</td></tr>' for k, v in entries.items())
    return f"<table>{''.join(rows)}</table>"


def heading(text: str, anchor: str = "", level: int = 2) -> str:
    """A heading, which `#anchor` leads to."""
    place = f' id="{html.escape(anchor)}"' if anchor else ""
    return f"<h{level}{place}>{html.escape(text)}</h{level}>"


def link(text: str, anchor: str) -> Html:
    """A link to a heading."""
    return Html(f'<a href="#{html.escape(anchor)}">{html.escape(text)}</a>')


def note(text: str) -> str:
    """Something said aside, in paragraphs where it has empty lines."""
    return "".join(f'<p class="note">{html.escape(paragraph)}</p>' for paragraph in text.split("\n\n"))


def drawing(picture: str) -> str:
    """An SVG or image element on white: its lines and letters are dark."""
    return f'<div class="drawing">{picture}</div>'


def details(title: str, content: str) -> str:
    """Something to be folded out."""
    return f"<details><summary>{html.escape(title)}</summary>\n{content}\n</details>"


def code(text: str) -> str:
    """Text as it is written in a file."""
    return f"<pre>{html.escape(text)}</pre>"


def escape(text: str) -> str:
    """Text as HTML."""
    return text if isinstance(text, Html) else html.escape(text)
