"""Render all tables and figures of a run's papers from what has been measured so far."""

from __future__ import annotations

from pathlib import Path

from nmtprune.experiment.papers import Item
from nmtprune.experiment.run import Run
from nmtprune.foundation import escape
from nmtprune.foundation.files import atomic, write_text
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import claims_page, figures, kinds, page, tables, tips
from nmtprune.reporting.captions import parts


def render(run: Run) -> list[Path]:
    """Write every table and figure, then claims and page, and return the files.

    A missing score is a footnote, never an error.
    """
    measured = Measured(run.config)
    rendered = [_render(run, item, measured) for item in run.items]
    decided = claims_page.decide(run, measured)
    index, listed, table, front = run.outputs[:4]
    write_text(listed, claims_page.markdown(run.config, decided))
    write_text(table, claims_page.table(decided))
    write_text(front, page.report_front(run, measured, decided))
    page.write(run, measured, rendered, decided)
    return [index, listed, table, front, *(file for each in rendered for file in each.files.values())]


def _render(run: Run, item: Item, measured: Measured) -> page.Rendered:
    made = kinds.make(item, measured)
    caption = parts(item, measured)
    sentences = [*(said for _, group in caption for said in group), *made.sentences]
    title = f"{item.number}: {item.title}"
    files = {file.suffix.removeprefix("."): file for file in run.files_of(item)}
    with atomic(files["csv"]) as temporary:
        made.numbers.to_csv(temporary, index=False)
    write_text(files["rst"], escape.rst(f"{title}. {' '.join([*sentences, *made.footnotes])}") + "\n")
    if made.table:
        write_text(files["md"], tables.markdown(made.table, title, sentences, made.widths))
        if "html" in files:
            write_text(files["html"], page.alone(made, title))
        write_text(files["tex"], tables.latex(made.table, item.key, title, sentences, made.widths))
    if made.figure:
        figures.save(made.figure, files["png"], files["svg"])
    return page.Rendered(item, made, caption, files, tips.of_cells(item, made.numbers, measured))
