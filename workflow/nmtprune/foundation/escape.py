"""Text escaped for the formats that are written, since titles, labels and captions may hold any character.

HTML is escaped by the page's template.
"""

from __future__ import annotations

import re

_TEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "↑": r"$\uparrow$",
        "⇑": r"$\Uparrow$",
        "↓": r"$\downarrow$",
        "⇓": r"$\Downarrow$",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "–": "--",
        "−": "$-$",
    }
)


def markdown(text: str) -> str:
    """Text on one line in which Markdown finds no markup, HTML, character references or formulas."""
    return re.sub(r"([\\`*_<\[\]~$]|&(?=#?\w+;))", r"\\\1", _in_a_line(text))


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return markdown(text).replace("|", r"\|")


def tex(text: str) -> str:
    """Text for LaTeX on one line; the symbols of our tables become formulas."""
    return _in_a_line(text).translate(_TEX)


def rst(text: str) -> str:
    """Text on one line, escaped for reStructuredText and for Jinja: Snakemake reads captions as both."""
    return re.sub(r"([\\*`_|])", r"\\\1", _in_a_line(text)).replace("{", "{{ '{' }}")


def _in_a_line(text: str) -> str:
    return re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
