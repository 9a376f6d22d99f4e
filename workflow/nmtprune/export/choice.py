"""The smallest, fastest and cheapest models of a task that lose little quality on the development set."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nmtprune.experiment import chain as chains
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.metrics import BATCH_SIZE, METRICS, QUALITIES, SPEED
from nmtprune.experiment.run import Run
from nmtprune.experiment.step_kinds import INT8_ENGINES, SPARSE
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.known import known
from nmtprune.measurements.compared import size_ratio, speed_ratio, was_busy
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.payoff import Offer, before_mask, sentences, zeros


@dataclass(frozen=True)
class Candidate:
    """One model; its numbers are means over its seeds, and None where nothing is measured.

    `chain`: the best seed on the development set. `dev`, `test`: scores by `metric`. `size`: bytes of the
    smallest engine's files, or of the model as stored if `size_engine` is None. `speed`: source words per
    second in `speed_engine`, the fastest engine. `macs`: multiply-accumulates per source word.
    """

    chain: Chain
    seeds: int
    dev: float
    test: float | None = None
    size: float | None = None
    size_engine: str | None = None
    speed: float | None = None
    speed_engine: str | None = None
    macs: float | None = None
    metric: str = "bleu"

    @property
    def quality(self) -> float:
        """The score on the development set, negated if lower scores are better."""
        return METRICS[self.metric].better * self.dev


@dataclass(frozen=True)
class Criterion:
    """A criterion to choose a model by.

    `metric`: the column that it is measured in. `what`: the noun for what is measured. `cost`: positive, the
    lower the better. `numbers`: the measurement in words. `engine`: the engine to export the model for; None
    if any will do.
    """

    name: str
    metric: str
    what: str
    cost: Callable[[Candidate], float | None]
    numbers: Callable[[Candidate], str]
    engine: Callable[[Candidate], str | None]


MOST_COMMANDS = 5  # at most so many commands are printed that score models


def _size_in_words(model: Candidate) -> str:
    return f"{model.size / 1e6:.2f} MB {_kind(model)}" if model.size is not None else "size not measured"


def _speed_in_words(model: Candidate) -> str:
    return f"{model.speed:,.0f} words/s in {model.speed_engine}" if model.speed else "speed not measured"


def _macs_in_words(model: Candidate) -> str:
    return f"{model.macs / 1e6:.2f} M MACs a word" if model.macs is not None else "MACs not known"


CRITERIA = (
    Criterion(
        "smallest",
        "size_stored",
        "size",
        lambda model: model.size,
        _size_in_words,
        lambda model: model.size_engine,
    ),
    Criterion(
        "fastest",
        "words_per_second",
        "speed",
        lambda model: 1 / model.speed if model.speed else None,
        _speed_in_words,
        lambda model: model.speed_engine,
    ),
    Criterion(
        "least MACs",
        "macs_per_word",
        "number of MACs",
        lambda model: model.macs,
        _macs_in_words,
        lambda model: None,
    ),
)


def choose(
    run: Run, within: float, task: str | None = None, against: Chain | None = None, metric: str = "bleu"
) -> str:
    """What `python -m nmtprune choose` prints: a paragraph for each task of the run, or for one task.

    `within`: what may be lost by `metric` on the development set, against the best model there or against the
    chain `against`. Raises UserError if the metric or the task is unknown, or none of its models is scored on
    the development set.
    """
    if metric not in QUALITIES:
        raise UserError(
            f"choose: --metric `{metric}` is not one of {', '.join(QUALITIES)}; {suggest(metric, QUALITIES)}"
        )
    title = METRICS[metric].title
    if not within > 0:
        raise UserError(
            f"choose: --within {within:g} leaves no model; give the {title} that may be lost, such as 0.3"
        )
    if against and task not in (None, against.task):
        raise UserError(
            f"choose: --against {against} is of another task than --task {task}; name a chain of that task"
        )
    config, measured, wanted = run.config, Measured(run.config), run.scored
    tasks = [against.task] if against else [task] if task else sorted({chain.task for chain in wanted})
    if unknown := [each for each in tasks if each not in config.library.names("tasks")]:
        raise UserError(
            f"choose: unknown task `{unknown[0]}`; {suggest(unknown[0], config.library.names('tasks'))}"
        )
    paragraphs = []
    for each in tasks:
        models = (
            {chain for chain in wanted if chain.task == each}
            | _scored(config, each)
            | ({against} if against else set())
        )
        ranked = candidates(measured, models, metric)
        if ranked:
            unscored = [
                chain
                for chain in sorted(models, key=str)
                if not chain.last.get("class") and _score(measured, chain, "dev", metric) is None
            ]
            paragraphs.append(report(measured, ranked, _reference(ranked, against), within, unscored))
    if not paragraphs:
        of = f"task {tasks[0]}" if len(tasks) == 1 else f"the run {config.name}"
        scored = candidates(measured, (chain for chain in wanted if chain.task in tasks))
        lacking = METRICS[metric].lacking
        reason = lacking(measured, scored[0].chain) if scored and lacking else None
        raise UserError(
            f"choose: no model of {of} has a {title} on the development set; "
            f"{reason or f'make and score them: {commands.snakemake()}'}"
        )
    return "\n\n".join(paragraphs)


def _scored(config: Config, task: str) -> set[Chain]:
    """A task's models that have scores, from this run or another, if the configuration still knows them."""
    scored = set()
    for file in (paths.MODELS / task).rglob(paths.SCORES):
        try:
            chain = chains.parse(paths.chain_text(str(file)))
            check_chain(config, chain)
        except UserError:
            continue
        scored.add(chain)
    return scored


def candidates(measured: Measured, models: Iterable[Chain], metric: str = "bleu") -> list[Candidate]:
    """The models scored on the development set, the best first; seeds of a model make one candidate."""
    groups: dict[tuple[Any, ...], list[Chain]] = {}
    for chain in sorted(models, key=str):
        if _score(measured, chain, "dev", metric) is not None:
            groups.setdefault((chain.task, chain.recipe, chain.steps), []).append(chain)
    unsorted = [_candidate(measured, seeds, metric) for seeds in groups.values()]
    return sorted(unsorted, key=lambda candidate: (-candidate.quality, str(candidate.chain)))


def _candidate(measured: Measured, seeds: list[Chain], metric: str) -> Candidate:
    dev = {chain: known(_score(measured, chain, "dev", metric)) for chain in seeds}
    best = max(seeds, key=lambda chain: METRICS[metric].better * dev[chain])
    test = [_score(measured, chain, measured.test_set(chain.task), metric) for chain in seeds]
    macs = [measured.value(chain, "macs_per_word") for chain in seeds]
    costs = (*_size(measured, seeds), *_speed(measured, seeds), _mean(macs))
    return Candidate(best, len(seeds), statistics.mean(dev.values()), _mean(test), *costs, metric)


def _score(measured: Measured, chain: Chain, test_set: str, metric: str) -> float | None:
    row = measured.scores(chain, test_set)
    return float(row[metric]) if row and row.get(metric) else None


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return statistics.mean(measured) if measured else None


def _size(measured: Measured, seeds: list[Chain]) -> tuple[float | None, str | None]:
    """Bytes of the smallest engine's files and that engine; if none was measured, stored size and None."""
    bytes_by_engine = _by_engine(measured, seeds, "size_on_disk")
    if not bytes_by_engine:
        return _mean([measured.value(chain, "size_stored") for chain in seeds]), None
    smallest = min(bytes_by_engine, key=bytes_by_engine.__getitem__)
    return bytes_by_engine[smallest], smallest


def _speed(measured: Measured, seeds: list[Chain]) -> tuple[float | None, str | None]:
    """Source words per second in the fastest engine, and that engine."""
    speeds = _by_engine(measured, seeds, "words_per_second")
    if not speeds:
        return None, None
    fastest = max(speeds, key=speeds.__getitem__)
    return speeds[fastest], fastest


def _by_engine(measured: Measured, seeds: list[Chain], column: str) -> dict[str, float]:
    """Means over seeds of a column of the table of speeds, for each engine that models can be exported to.

    Precision, shortlist and batch size are those with which the models were scored and tables print speed.
    """
    values_of: dict[str, list[float]] = {}
    for chain in seeds:
        way = (
            "int8" if chain.quantised_for else "float32",
            str(int(measured.config.shortlist(chain) is not None)),
            str(BATCH_SIZE),
        )
        for row in measured.speeds(chain):
            if (
                row["engine"] in INT8_ENGINES
                and (row["precision"], row["shortlist"], row["batch_size"]) == way
            ):
                values_of.setdefault(row["engine"], []).append(float(row[column]))
    return {engine: statistics.mean(values) for engine, values in values_of.items()}


def _reference(ranked: list[Candidate], against: Chain | None) -> Candidate:
    """The best model on the development set, or the one that the chain `against` is a seed of.

    Raises UserError if that model is not scored on the development set.
    """
    if against is None:
        return ranked[0]
    same = (
        each for each in ranked if (each.chain.recipe, each.chain.steps) == (against.recipe, against.steps)
    )
    reference = next(same, None)
    if reference is None:
        raise UserError(
            f"choose: --against {against} has no {METRICS[ranked[0].metric].title} on the development set; "
            f"score it: {how_to_score(against)}"
        )
    return reference


def eligible(models: Iterable[Candidate], reference: Candidate, within: float) -> list[Candidate]:
    """The models that lose less than `within` on the development set against the reference."""
    return [each for each in models if reference.quality - each.quality < within]


def how_to_score(chain: Chain) -> str:
    """The command that scores a model on the development set, and makes the model first if necessary."""
    if _is_made(chain):
        return commands.nmtprune("score", str(chain))
    return commands.snakemake(str(paths.model(chain) / paths.SCORES))


def _is_made(chain: Chain) -> bool:
    """Whether a model can be scored: it has been made, or it only selects weights of a model that has."""
    made = chain.parent if chain.last.kind.selects else chain
    return made is not None and paths.manifest(made).exists()


def report(
    measured: Measured,
    ranked: list[Candidate],
    reference: Candidate,
    within: float,
    unscored: Iterable[Chain] = (),
) -> str:
    """A task's choice in words: the reference, then the best eligible model by each criterion.

    Each comes with the command that exports it. `ranked`: all models with a score on the development set,
    the best first. `unscored`: models without one, which cannot be chosen; the commands that score them are
    added.
    """
    task, best, unscored = reference.chain.task, eligible(ranked, reference, within), list(unscored)
    of = "the best on the development set" if reference is ranked[0] else "as given"
    title = METRICS[reference.metric].title
    lines = [
        f"{task}: {len(best)} of {len(ranked)} models lose less than {within:g} {title} on the development "
        f"set against the reference, {of}"
        + (f"; {len(unscored)} more are not scored there" if unscored else ""),
        *_described("reference", reference, reference),
        *_how_to_score_all(unscored),
    ]
    for criterion in CRITERIA:
        known = [each for each in best if criterion.cost(each) is not None]
        if not known:
            reason = (
                measured.lacks(reference.chain, criterion.metric)
                or "none of these models has it in its scores"
            )
            lines += [
                "",
                f"{criterion.name:11} not known: {reason}",
                *_how_to_time(measured.config, criterion),
            ]
            continue
        winner = min(known, key=lambda each: (criterion.cost(each), -each.quality, str(each.chain)))
        engine, name = criterion.engine(winner), criterion.name.replace(" ", "-").lower()
        lines += ["", *_described(criterion.name, winner, reference)]
        if len(known) < len(best):
            lines.append(f"{'':11} among {len(known)} models; not measured for {len(best) - len(known)} more")
            if criterion.metric == "size_stored":
                lines += [f"{'':11} {how_to_score(each.chain)}" for each in best if each not in known]
            else:
                lines += _how_to_time(measured.config, criterion)
        lines += (f"{'':11} {said}" for said in _whether_pruning_pays(measured, ranked, best, criterion))
        export = commands.nmtprune(
            "export", str(winner.chain), f"exported/{task}-{name}", *(["--engine", engine] if engine else [])
        )
        lines.append(f"{'':11} {export}")
    return "\n".join(lines)


def _whether_pruning_pays(
    measured: Measured, ranked: list[Candidate], best: list[Candidate], criterion: Criterion
) -> list[str]:
    """Sentences beneath a choice: whether a model that is not pruned is as good, and what zeros buy.

    `ranked`: all models. `best`: those that lose little enough.
    """
    by_speed = METRICS[criterion.metric].reads == SPEED
    busy = by_speed and any(was_busy(measured.speeds(each.chain)) for each in ranked)
    said = sentences(measured.config, _offers(ranked, best, criterion), criterion.what, busy)
    if by_speed and (bought := zeros(_of_zeros(measured, ranked))):
        said.append(bought)
    return said


def _offers(ranked: list[Candidate], best: list[Candidate], criterion: Criterion) -> list[Offer]:
    """The models whose cost is measured, as `payoff` compares them."""
    return [
        Offer(
            each.chain,
            each.quality,
            cost,
            each in best,
            f"{METRICS[each.metric].title} {each.dev:.2f} dev, {criterion.numbers(each)}",
        )
        for each in ranked
        if (cost := criterion.cost(each)) is not None
    ]


def _of_zeros(measured: Measured, models: Iterable[Candidate]) -> list[tuple[float, float]]:
    """Sizes and speeds of sparse models, times those of the same models before, where all are measured."""
    pairs = [(each.chain, before) for each in models if (before := before_mask(each.chain))]
    ratios = [(size_ratio(*pair, measured), speed_ratio(*pair, measured)) for pair in pairs]
    return [(size, speed[0]) for size, speed in ratios if size and speed and not speed[1]]


def _how_to_score_all(unscored: Iterable[Chain]) -> Iterator[str]:
    """The commands that score models on the development set; one command for all that are not made yet."""
    made = [chain for chain in unscored if _is_made(chain)]
    yield from (
        f"{'':11} score it: {commands.nmtprune('score', str(chain))}" for chain in made[:MOST_COMMANDS]
    )
    if len(made) > MOST_COMMANDS:
        yield f"{'':11} and {len(made) - MOST_COMMANDS} more in the same way"
    if left := len(list(unscored)) - len(made):
        yield f"{'':11} make and score the {left} that are not there yet: {commands.snakemake()}"


def _how_to_time(config: Config, criterion: Criterion) -> list[str]:
    """The command that measures the speed of a run's own chains, if speed is what is missing."""
    settings = config.settings
    asks = METRICS[criterion.metric].reads == SPEED and settings["chains"] and not settings["speed"]
    return [f"{'':11} {commands.snakemake(settings=['speed=true'])}"] if asks else []


def _described(name: str, model: Candidate, reference: Candidate) -> list[str]:
    lost = "" if model is reference else f" ({model.dev - reference.dev:+.2f})"
    quality = [
        f"{METRICS[model.metric].title} {model.dev:.2f} dev{lost}",
        f"{model.test:.2f} test" if model.test is not None else "test not scored",
    ]
    if model.seeds > 1:
        quality.append(f"means of {model.seeds} seeds")
    ratio = (
        f", {model.speed / reference.speed:.2f} times the reference"
        if model.speed and reference.speed and model is not reference
        else ""
    )
    costs = [
        _size_in_words(model),
        f"{_speed_in_words(model)}{ratio}",
        _macs_in_words(model),
    ]
    return [f"{name:11} {model.chain}", f"{'':11} {', '.join(quality)}", f"{'':11} {'; '.join(costs)}"]


def _kind(model: Candidate) -> str:
    """What a size in bytes is the size of."""
    if model.size_engine is None:
        return "as a sparse file (exported it is dense)" if model.chain.form == SPARSE else "as stored"
    return f"in {model.size_engine}, {'int8' if model.chain.quantised_for else 'float32'}"
