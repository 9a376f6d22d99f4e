"""Claims as they are shown: a Markdown file, and what the page's first section needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmtprune import claims
from nmtprune.claims import Claim, Finding
from nmtprune.claims.verdict import FEWEST_SEEDS, MARGIN, Verdict, seeds_to_decide
from nmtprune.experiment import papers, paths
from nmtprune.experiment.config import Config
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.papers import Item
from nmtprune.foundation import escape
from nmtprune.foundation.files import as_csv
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import BLEU_GAIN, MORE, NLL_GAIN

HEADINGS = ("Claim", "Where", "Verdict", "Here", "Read from")
CAVEAT = (
    "A claim holds or fails where the whole 95 % interval of what it says lies on one side; all else is undecided. Differences are paired "
    "by seed, over all test sets of a task together. Intervals hold the variance between trainings, estimated from this run and pooled "
    "over comparisons of one kind, and that of the sentences (paired bootstrap). A run of fewer than "
    f"{FEWEST_SEEDS} seeds speaks of its own models alone: there a claim *agrees* or *disagrees, in this run*. Nothing is decided from a "
    f"baseline that {100 * MORE:.0f} % more updates would improve by {NLL_GAIN:g} % of its development likelihood or {BLEU_GAIN:g} BLEU, "
    "from models trained in different precision, or where the statistics of sentences were not kept. “No loss” and “as good as” allow "
    f"{MARGIN:g} BLEU where the paper names no margin. What a paper says of all tasks is read as a mean effect (random effects over tasks) "
    "with no single significant loss (Holm). BLEU here is sacreBLEU on detokenised text; the papers print tokenised BLEU (See et al., Wang "
    "et al.), case-sensitive NIST BLEU (Wang and Tu) and sacreBLEU (Behnke and Heafield)."
)
COLUMNS = (
    *("paper", "name", "headline", "text", "where", "note", "items", "verdict", "of_method", "said", "here", "precision"),
    *("effect", "low", "high", "unit", "scale", "bound", "half_width", "seeds", "seeds_to_decide"),
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
    """`Of 12 claims 3 hold, 4 fail and 5 are undecided.`, with those apart that speak of the run alone; nothing where there are none."""
    if not decided:
        return ""
    counts = Counter((each.finding.verdict, each.finding.of_method) for each in decided)
    of_run = {"agree": counts[Verdict.HOLDS, False], "disagree": counts[Verdict.FAILS, False]}
    parts = [_count(counts[Verdict.HOLDS, True], "holds", "hold"), _count(counts[Verdict.FAILS, True], "fails", "fail")]
    parts += [_count(count, f"{verb}s in this run", f"{verb} in this run") for verb, count in of_run.items() if count]
    undecided = counts[Verdict.UNDECIDED, True] + counts[Verdict.UNDECIDED, False]
    return f"Of {len(decided)} claims {', '.join(parts)} and {_count(undecided, 'is undecided', 'are undecided')}."


def _count(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"


def shown_name(item: Item, of: Claim) -> str:
    """`Table 2`; of another paper's with its name."""
    return item.number if item.paper == of.paper else f"{item.number} of {item.about['short']}"


def file_of(config: Config, name: str = paths.CLAIMS) -> Path:
    """The claims of a run, beside its page: as a page, or as a table (paths.CLAIMS_TABLE)."""
    return paths.page(config.name) / name


def markdown(config: Config, decided: list[Decided]) -> str:
    """A table a paper; links are relative to the page's folder."""
    parts = [f"# Claims: {escape.markdown(config.title)}", " ".join(filter(None, [summary(decided), CAVEAT]))]
    for name in dict.fromkeys(each.claim.paper for each in decided):
        lines = [HEADINGS, ["---"] * len(HEADINGS), *(_line(each) for each in decided if each.claim.paper == name)]
        parts += [f"## {papers.paper(name)['short']}", "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    return "\n\n".join(parts) + "\n"


def _line(each: Decided) -> list[str]:
    links = (f"[{shown_name(item, each.claim)}]({item.key}.{ITEM_KINDS[item.kind].page_file})" for item in each.items)
    quoted = f"“{each.claim.text}”{f' {each.claim.note}' if each.claim.note else ''}"
    here = " ".join(filter(None, [each.finding.because, precision(each.finding)]))
    return [escape.cell(quoted), escape.cell(each.claim.where), f"**{each.finding.said}**", escape.cell(here), ", ".join(links)]


def precision(finding: Finding) -> str:
    """A sentence: how sure the number behind a verdict is, and what would decide an open claim."""
    said = finding.precision
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def table(decided: list[Decided]) -> str:
    """The claims as CSV, a row each, for whoever puts several runs together."""
    return as_csv(map(_record, decided), COLUMNS)


def _record(each: Decided) -> dict[str, Any]:
    claim, finding, deciding = each.claim, each.finding, each.finding.deciding
    record = {
        **{name: getattr(claim, name) for name in ("paper", "name", "text", "where", "note")},
        "headline": int(claim.headline),
        "items": " ".join(f"{item.key}.{ITEM_KINDS[item.kind].page_file}" for item in each.items),
        "verdict": str(finding.verdict),
        "of_method": int(finding.of_method),
        "said": finding.said,
        "here": finding.because,
        "precision": precision(finding),
    }
    if deciding is None:
        return record
    estimate = deciding.estimate
    return record | {
        "effect": f"{estimate.value:.6g}",
        "low": f"{estimate.low:.6g}",
        "high": f"{estimate.high:.6g}",
        "unit": estimate.unit.strip(),
        "scale": estimate.scale,
        "bound": f"{deciding.bound:.6g}",
        "half_width": f"{estimate.half_width():.6g}",
        "seeds": estimate.seeds,
        "seeds_to_decide": (seeds_to_decide(deciding) or "") if finding.verdict is Verdict.UNDECIDED else "",
    }
