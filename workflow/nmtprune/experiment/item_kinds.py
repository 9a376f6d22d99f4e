"""The registry of kinds of tables and figures: one entry for each, with everything that is known about it.

`reporting/kinds/<name>.py` makes the tables or figures of a kind.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE, FIGURE = ("csv", "html", "md", "tex", "rst"), ("csv", "png", "svg", "rst")
DEFAULT_OVER_SEEDS = "Mean ± standard deviation {over}."
ERROR_BARS = "Means {over}; error bars: standard deviation over seeds."
FIRST_SEED = "Seed {first}; the numbers have all seeds."


@dataclass(frozen=True)
class ItemKind:
    """A kind of table or figure.

    `about`: what it shows, as docs/configuration.md prints it. `files`: extensions of its rendered
    files. `reads`: what it reads of every model: `scores`, `history`, `norms`, or analyses by name; None
    if this depends on the metrics of its columns. `requires`: keys that its YAML file must have.
    `over_seeds`: the caption's sentence if there are several seeds, where `{over}` becomes `over seeds
    1, 2`, and `{seeds}` and `{first}` their numbers. `one_seed`: an addition to the caption if there is
    one seed. `translates`: it shows translations, whatever its columns are. `samples_test_set`: it
    translates an evenly spaced sample of the test set. `tests_bleu`: BLEU is tested against the
    baseline.
    """

    name: str
    about: str
    files: tuple[str, ...]
    reads: tuple[str, ...] | None = None
    requires: tuple[str, ...] = ()
    over_seeds: str = DEFAULT_OVER_SEEDS
    one_seed: str = ""
    translates: bool = False
    samples_test_set: bool = False
    tests_bleu: bool = False

    @property
    def page_file(self) -> str:
        """The extension of the file for readers of Markdown: a table in Markdown, or the picture."""
        return "md" if "md" in self.files else "png"

    @property
    def report_file(self) -> str:
        """The extension of the file in Snakemake's report: the picture, or the table as HTML."""
        return "html" if self.is_table else "svg"

    @property
    def is_table(self) -> bool:
        """Whether it is a table, without a picture."""
        return "svg" not in self.files


ITEM_KINDS = {
    kind.name: kind
    for kind in (
        ItemKind("table", "a table", TABLE, requires=("columns",), tests_bleu=True),
        ItemKind(
            "lines",
            "lines over a grid variable",
            FIGURE,
            requires=("columns", "x", "grid"),
            over_seeds="Means {over}. Bars and the baseline's band: standard deviation over seeds.",
            one_seed=" Band: 95 % bootstrap interval of the baseline over sentences.",
        ),
        ItemKind("bars", "bars by weight class", FIGURE, requires=("columns",), over_seeds=ERROR_BARS),
        ItemKind(
            "scatter", "a scatter of two measures", FIGURE, requires=("columns",), over_seeds=ERROR_BARS
        ),
        ItemKind(
            "losses",
            "losses through a chain of trainings",
            FIGURE,
            reads=("history",),
            over_seeds="A line for each of the seeds {seeds}.",
        ),
        ItemKind(
            "pictures",
            "pictures of weights",
            ("csv", "md", "tex", "png", "svg", "rst"),
            reads=("weights",),
            over_seeds="Shares are means {over}; pictures of seed {first}.",
        ),
        ItemKind(
            "trajectory",
            "the trajectory of encoder representations",
            FIGURE,
            reads=("representations",),
            over_seeds="A panel for each seed; numbers in the caption are means {over}.",
        ),
        ItemKind("probing", "accuracies of probing tasks", TABLE, reads=("probing",)),
        ItemKind("changes", "changes of probing accuracies against the baseline", FIGURE, reads=("probing",)),
        ItemKind(
            "examples",
            "example translations",
            TABLE,
            requires=("columns", "examples"),
            over_seeds="Translations of seed {first}, the first of seeds {seeds}.",
            translates=True,
        ),
        ItemKind(
            "front",
            "a Pareto front of quality (the first column) against each further column (colours by group, "
            "markers by the label up to its "
            "comma)",
            FIGURE,
            requires=("columns",),
            over_seeds="Means {over}; bars: standard deviation over seeds.",
        ),
        ItemKind(
            "widths", "widths of layers through a training", FIGURE, reads=("history",), over_seeds=FIRST_SEED
        ),
        ItemKind(
            "layers",
            "widths left by layer",
            FIGURE,
            reads=("scores",),
            requires=("widths",),
            over_seeds="Means {over}.",
        ),
        ItemKind(
            "blocks", "pictures of the first layers' W1", FIGURE, reads=("matrices",), over_seeds=FIRST_SEED
        ),
        ItemKind("histogram", "a histogram of group norms", FIGURE, reads=("norms",), over_seeds=FIRST_SEED),
        ItemKind(
            "heatmaps",
            "heat maps of the importance of components (a map for each row and each column of importance)",
            FIGURE,
            requires=("columns",),
            over_seeds="Means {over}.",
        ),
        ItemKind(
            "removal",
            "BLEU against the number of components removed, with the order of removal",
            FIGURE,
            reads=("order",),
            over_seeds="Lines are means {over}, bars standard deviations; maps of seed {first}.",
            translates=True,
            samples_test_set=True,
        ),
        ItemKind(
            "similarity",
            "the similarity of the most and least important components' output to the model's",
            TABLE,
            reads=("similarity", "contribution", "order"),
        ),
        ItemKind("isometry", "singular values of the components' Jacobians", TABLE, reads=("isometry",)),
        ItemKind(
            "ladder",
            "the share of weights that can be pruned without loss against the width of models",
            FIGURE,
            reads=("scores",),
            translates=True,
        ),
    )
}
