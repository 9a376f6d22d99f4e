"""Claims as they are shown: a Markdown file, and what the page's first section needs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nmtprune import claims, papers, paths
from nmtprune.claims import Claim, Finding
from nmtprune.claims.verdict import MARGIN, NOISE, Verdict
from nmtprune.config import Config
from nmtprune.papers import EXTENSIONS, Item
from nmtprune.reporting.measured import Measured

HEADINGS = ("Claim", "Where", "Verdict", "Here", "Read from")
CAVEAT = (
    "A claim holds or fails where the whole 95 % interval of a difference lies on its side, by paired bootstrap over sentences and seeds; "
    f"“no loss” and “as good as” allow {MARGIN:g} BLEU where the paper names no margin. All else is undecided, and so is what is not "
    "measured. Effects of 0.2 to 0.6 BLEU, as most of the papers', are inside the noise of a thousand test sentences or fewer and of few "
    "seeds, and small models that stand in for the papers' have less to spare: a claim that fails of them may hold at the papers' scale. "
    f"Where translations are not kept, ±{NOISE:g} BLEU is taken for the interval."
)


@dataclass(frozen=True)
class Decided:
    """A claim with what is found of it, and the tables and figures that it was read from."""

    claim: Claim
    finding: Finding
    items: tuple[Item, ...]


def decide(config: Config, measured: Measured) -> list[Decided]:
    """All claims of the run, in the order of its papers."""
    known = {item.key: item for item in papers.items(config)}
    return [Decided(claim, found, tuple(known[key] for key in found.items)) for claim, found in claims.decide(config, measured)]


def summary(decided: list[Decided]) -> str:
    """`Of 12 claims 3 hold, 4 fail and 5 are undecided.`; nothing where there are none."""
    counts = Counter(each.finding.verdict for each in decided)
    holds, fails, undecided = (counts[verdict] for verdict in Verdict)
    said = f"{holds} {'holds' if holds == 1 else 'hold'}, {fails} {'fails' if fails == 1 else 'fail'} and "
    return f"Of {len(decided)} claims {said}{undecided} {'is' if undecided == 1 else 'are'} undecided." if decided else ""


def shown_name(item: Item, of: Claim) -> str:
    """`Table 2`; of another paper's with its name."""
    return item.number if item.paper == of.paper else f"{item.number} of {papers.paper(item.paper)['short']}"


def file_of(config: Config) -> Path:
    return paths.page(config.settings["preset"]) / papers.CLAIMS


def markdown(config: Config, decided: list[Decided]) -> str:
    """A table a paper; links are relative to the page's folder."""
    parts = [f"# Claims: {config.preset['title']}", " ".join(filter(None, [summary(decided), CAVEAT]))]
    for name in dict.fromkeys(each.claim.paper for each in decided):
        lines = [HEADINGS, ["---"] * len(HEADINGS), *(_line(each) for each in decided if each.claim.paper == name)]
        parts += [f"## {papers.paper(name)['short']}", "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    return "\n\n".join(parts) + "\n"


def _line(each: Decided) -> list[str]:
    links = (f"[{shown_name(item, each.claim)}]({item.key}.{_extension(item)})" for item in each.items)
    texts = (_escaped(text) for text in (each.claim.text, each.claim.where))
    return [*texts, f"**{each.finding.verdict}**", _escaped(each.finding.because), ", ".join(links)]


def _extension(item: Item) -> str:
    """The file in which a reader sees the item: a table's Markdown, a figure's picture."""
    return "md" if "md" in EXTENSIONS[item.kind] else "png"


def _escaped(text: str) -> str:
    """Text that no Markdown reader takes for markup."""
    return re.sub(r"([\\`*_|<\[\]~])", r"\\\1", text)
