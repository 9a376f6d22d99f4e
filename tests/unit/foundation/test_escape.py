"""Titles and labels may contain anything, in every format."""

import re

import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from nmtprune.foundation import errors, escape
from nmtprune.reporting import figures

ODD = (
    "<b>&amp; A_b %c $d$ #e {f} {{g}} {lang} \\h | ~i ^j \"k\" 'l' `m` *n* [o](p) {% q %} {# r #} ü 漢 "
    "$\\frac{"
)


def test_markdown_shows_every_character():
    shown = escape.cell(ODD)
    assert shown.replace(r"\|", "|") == escape.markdown(ODD)
    assert re.sub(r"\\([\\`*_|<\[\]~&$])", r"\1", shown) == ODD
    assert not re.search(r"(?<!\\)(?:\\\\)*(?:[`*_|<\[\]~$]|&amp;)", shown)


def test_a_line_end_ends_no_row():
    for end in ("\n", "\r\n", "\u2028", "\x85", " \n\n "):
        assert escape.markdown(f"a{end}b") == escape.tex(f"a{end}b") == escape.rst(f"a{end}b") == "a b"


def test_latex_has_no_bare_special_character():
    bare = re.sub(
        r"\\(textbackslash|textbar|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]|\$[<>]\$",
        "",
        escape.tex(ODD),
    )
    assert not set("&%$#_{}\\~^|<>") & set(bare)


def test_a_caption_passes_jinja_and_docutils():
    rendered = Environment().from_string(escape.rst(f"Table 1: {ODD}")).render()
    body = publish_parts(rendered, writer_name="html", settings_overrides={"halt_level": 2})["body"]
    for part in ("&lt;b&gt;", "A_b", "{f} {{g}}", "{% q %} {# r #}", "*n*", "`m`", "\\h |"):
        assert part in body


def test_a_figure_shows_a_dollar_sign(tmp_path):
    figure, axes = figures.pyplot.subplots()
    axes.set_title(ODD.replace("漢", ""))
    axes.set_xscale("log")
    axes.plot([1e-3, 1e2], [1, 2], label=r"$\broken{")
    figures.number_powers(axes.xaxis)
    axes.legend()
    figures.save(figure, tmp_path / "a.png", tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\u2028b", "a\x85b"])
def test_a_sentence_is_one_line(value):
    assert str(errors.UserError(f"unknown task `{value}`", "and more")).splitlines() == [
        "unknown task `a b`",
        "and more",
    ]
