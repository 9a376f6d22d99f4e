"""How claims are shown: as a Markdown file, as a CSV table, and in the first section of the page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmtprune import claims
from nmtprune.claims import Claim, Finding
from nmtprune.claims.evidence import UNITS
from nmtprune.claims.verdict import FEWEST_SEEDS, MARGIN, Verdict, seeds_to_decide
from nmtprune.experiment import papers, paths
from nmtprune.experiment.config import Config
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.papers import Item
from nmtprune.experiment.run import Run
from nmtprune.foundation import escape
from nmtprune.foundation.files import as_csv
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import BLEU_GAIN, MORE, NLL_GAIN, OWN_GAIN

HEADINGS = ("Claim", "Where", "Verdict", "Here", "Read from")
CAVEAT = (
    "A claim holds or fails if the whole 95 % interval of its estimate lies on one side of the bound, and is "
    "undecided otherwise. "
    "Differences are paired by seed, over all test sets of a task pooled. Intervals include the variance "
    "between trainings, estimated from "
    "this run and pooled over comparisons of one kind (models that share as many trainings and are as near "
    "in BLEU), and the variance between sentences (paired bootstrap). The verdicts of a run of "
    f"fewer than {FEWEST_SEEDS} seeds are about its own models alone: there a claim *agrees* or *disagrees, "
    "in this run*. A comparison is left out "
    f"if {100 * MORE:.0f} % more updates would lower the development negative log-likelihood of a baseline "
    f"by {NLL_GAIN:g} % ({OWN_GAIN:g} % where it was not trained further, by its own last updates) or raise "
    f"its BLEU by {BLEU_GAIN:g}, if models were trained in different precision, or if sentence statistics "
    "were not kept. A claim with cases left out can fail but not hold. “No loss” and “as good "
    f"as” allow {MARGIN:g} BLEU where the paper names no margin. A statement about all tasks is read as a "
    "mean effect (random effects over "
    "tasks) with no single significant loss (Holm). BLEU here is sacreBLEU on detokenised text; the papers "
    "print tokenised BLEU (See et "
    "al., Wang et al.), case-sensitive NIST BLEU (Wang and Tu) and sacreBLEU (Behnke and Heafield)."
)
COLUMNS = (
    *(
        "paper",
        "name",
        "headline",
        "text",
        "where",
        "note",
        "items",
        "verdict",
        "of_method",
        "said",
        "here",
        "precision",
    ),
    *("effect", "low", "high", "unit", "scale", "bound", "half_width", "seeds", "seeds_to_decide"),
)


@dataclass(frozen=True)
class Decided:
    """A claim with its finding, and the tables and figures that it was read from."""

    claim: Claim
    finding: Finding
    items: tuple[Item, ...]


def decide(run: Run, measured: Measured) -> list[Decided]:
    """All claims of the run, in the order of its papers."""
    items = {item.key: item for item in run.items}
    return [
        Decided(claim, finding, tuple(items[key] for key in finding.items))
        for claim, finding in claims.decide(run, measured)
    ]


def summary(decided: list[Decided]) -> str:
    """`Of 12 claims 3 hold, 4 fail and 5 are undecided.`; verdicts on the run alone are counted apart.

    Empty without claims.
    """
    if not decided:
        return ""
    counts = Counter((each.finding.verdict, each.finding.of_method) for each in decided)
    of_run = {"agree": counts[Verdict.HOLDS, False], "disagree": counts[Verdict.FAILS, False]}
    parts = [
        _count(counts[Verdict.HOLDS, True], "holds", "hold"),
        _count(counts[Verdict.FAILS, True], "fails", "fail"),
    ]
    parts += [
        _count(count, f"{verb}s in this run", f"{verb} in this run")
        for verb, count in of_run.items()
        if count
    ]
    undecided = counts[Verdict.UNDECIDED, True] + counts[Verdict.UNDECIDED, False]
    return (
        f"Of {len(decided)} claims {', '.join(parts)} and "
        f"{_count(undecided, 'is undecided', 'are undecided')}{_without_estimate(decided)}."
    )


def _without_estimate(decided: list[Decided]) -> str:
    """How many undecided claims have no estimate, as `, 7 of them without an estimate`; empty if all have."""
    undecided = [each.finding for each in decided if each.finding.verdict is Verdict.UNDECIDED]
    lacking = sum(not finding.estimated for finding in undecided)
    if not lacking:
        return ""
    return ", without an estimate" if len(undecided) == 1 else f", {lacking} of them without an estimate"


VERDICTS = {  # in the order of a page: a verdict, and what is said there of one claim and of several
    "holds": ("holds", "hold"),
    "agrees": ("agrees, in this run", "agree, in this run"),
    "undecided": ("is undecided", "are undecided"),
    "disagrees": ("disagrees, in this run", "disagree, in this run"),
    "fails": ("fails", "fail"),
}


def verdict_of(each: Decided) -> str:
    """The verdict in a word; one on the run alone (`agrees`) is another than one on the method (`holds`)."""
    return each.finding.said.partition(",")[0]


@dataclass(frozen=True)
class Count:
    """How many claims have a verdict, and how many stand before them in the order of VERDICTS."""

    name: str
    said: str
    count: int
    before: int


def counts(decided: list[Decided]) -> list[Count]:
    """The verdicts of a run, without those that no claim has."""
    by_verdict = Counter(map(verdict_of, decided))
    listed, before = [], 0
    for name, (of_one, of_several) in VERDICTS.items():
        if number := by_verdict[name]:
            said = of_one if number == 1 else of_several
            said += _without_estimate(decided) if name == Verdict.UNDECIDED else ""
            listed.append(Count(name, said, number, before))
            before += by_verdict[name]
    return listed


def how_sure(decided: list[Decided]) -> str:
    """A sentence on what the verdicts speak of."""
    if all(each.finding.of_method for each in decided):
        return "Every verdict rests on a 95 % interval over trainings and sentences."
    return (
        f"Too few seeds for verdicts on a method ({FEWEST_SEEDS} are needed): “agree” and “disagree” "
        "describe these models only and say nothing of the papers."
    )


def _count(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"


def shown_name(item: Item, of: Claim) -> str:
    """`Table 2`, or `Table 2 of Wang et al. 2020` for a table of another paper."""
    return item.number if item.paper == of.paper else f"{item.number} of {item.about['short']}"


def file_of(config: Config, name: str = paths.CLAIMS) -> Path:
    """The file of a run's claims beside its page: the Markdown file, or the table (paths.CLAIMS_TABLE)."""
    return paths.page(config.name) / name


def markdown(config: Config, decided: list[Decided]) -> str:
    """The claims in Markdown, one table per paper; links are relative to the page's folder."""
    parts = [f"# Claims: {escape.markdown(config.title)}", " ".join(filter(None, [summary(decided), CAVEAT]))]
    for name in dict.fromkeys(each.claim.paper for each in decided):
        lines = [
            HEADINGS,
            ["---"] * len(HEADINGS),
            *(_line(each) for each in decided if each.claim.paper == name),
        ]
        parts += [
            f"## {papers.paper(name)['short']}",
            "\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        ]
    return "\n\n".join(parts) + "\n"


def _line(each: Decided) -> list[str]:
    links = (
        f"[{shown_name(item, each.claim)}]({item.key}.{ITEM_KINDS[item.kind].page_file})"
        for item in each.items
    )
    quoted = f"“{each.claim.text}”{f' {each.claim.note}' if each.claim.note else ''}"
    here = " ".join(filter(None, [each.finding.because, precision(each.finding)]))
    return [
        escape.cell(quoted),
        escape.cell(each.claim.where),
        f"**{each.finding.said}**",
        escape.cell(here),
        ", ".join(links),
    ]


def pools_test_sets(each: Decided) -> bool:
    """Whether the effect that decides a claim is one over all test sets of a task: in BLEU or nats."""
    deciding = each.finding.deciding
    return deciding is not None and deciding.estimate.unit in UNITS.values()


def precision(finding: Finding) -> str:
    """A sentence on how precise the deciding number is, and what would decide an undecided claim."""
    text = finding.precision
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def table(decided: list[Decided]) -> str:
    """The claims as CSV, one row each, from which several runs can be put together."""
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
