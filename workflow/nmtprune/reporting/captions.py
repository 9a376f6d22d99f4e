"""Captions: what a table or figure shows, and all that a reader needs to trust or reproduce it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from nmtprune.experiment import footing, own
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain, Step
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.metrics import BATCH_SIZE, BLEU, METRICS, SPEED, Metric
from nmtprune.experiment.papers import Item, Row
from nmtprune.experiment.schedule import PeakRate, Schedule
from nmtprune.experiment.step_kinds import sparsity_sought
from nmtprune.measurements import plateaus
from nmtprune.measurements.measurements import Measured
from nmtprune.speed.protocol import IDLE

T = TypeVar("T")
OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}
PRECISIONS = {"fp32": "single precision", "fp16": "half precision", "bf16": "bfloat16 (mixed precision)"}
SELECTED_BY = {
    "nll": "by negative log-likelihood on the development set",
    "bleu": "by BLEU on the development set",
    "last": "the latest",
}
# ending of the schedules that follow the other reading of the paper -> the rate of retraining here, and there
READINGS = {
    "peak": ("the last rate of the baseline's training", "one near its peak"),
    "last": ("near the peak of the baseline's training", "its last rate"),
}
DEAD = {  # what `lasso.dead` says of a group; the paper says "with a sum less than 1e-5"
    "squares": "whose squares sum to less than {:g} (the paper's sum, of absolute values, would leave none)",
    "threshold": "whose absolute values sum to less than {:g}",
    "gap": "below the gap of the norms (the paper: with a sum less than 1e-5)",
}
SCHEMES_SAID = {
    "local": "local is the same share of each matrix (the paper: of each layer)",
    "layer": "layer is the same share of each layer, its matrices together",
}
HEADS_SAID = {  # of attention, by the groups of a lasso
    "ffn+att": "A head goes when at least half of its rows and columns are dead.",
    "ffn+heads": (
        "A head is four groups, its parts of the query, key, value and output matrices "
        '(the paper: one entity, "a whole head submatrix"), '
        "and goes when at least half of it is dead; this changes the model, which further training repairs."
    ),
}
ROUNDING = (
    "one scale per row of a matrix, and activations scaled by their actual range; Marian has one "
    "scale per matrix"
)
WITHOUT_SPACES = {"zh": "Chinese", "ja": "Japanese", "th": "Thai"}
COUNTED = {  # how a paper computed the BLEU that it prints
    "see2016": (
        "of tokenised text, by multi-bleu as in Luong et al. 2015, to whom the paper refers; ours is of "
        "detokenised text and may differ by "
        "a point"
    ),
    "wang2020": (
        "4-gram BLEU (Papineni et al. 2002), of tokenised or detokenised text, which the paper does not say; "
        "ours is of detokenised text"
    ),
    "wangtu2020": (
        "case-sensitive 4-gram NIST BLEU (Papineni et al. 2002), of tokenised or detokenised text, which the "
        "paper does not say; ours is of detokenised text"
    ),
    "behnke2021": "sacreBLEU's, as ours is",
}
SAYS, READ, MADE = "says", "read", "made"  # what a sentence of a caption is about
MANY = 6  # with more recipes or rows than this, a caption is shortened


def caption(item: Item, measured: Measured) -> list[str]:
    """The sentences of a caption: the paper's statement, then all that a reader needs to know.

    That is: data, models, updates, precision, selection, differences between compared rows, seeds, test sets,
    prunable weights, the methods of analyses, and signatures.
    """
    return [sentence for _, sentences in parts(item, measured) for sentence in sentences]


def parts(item: Item, measured: Measured) -> list[tuple[str, list[str]]]:
    """The sentences of a caption in their order, in groups.

    Each group says what the item shows (SAYS), how it is read (READ), or how it was made (MADE).
    """
    if not item.rows:
        return [(SAYS, [item.caption]), (MADE, _left_out(item))]
    if item.key == f"{own.PAPER}/{own.PLOT}":  # it shows the models of the table above it
        return [(SAYS, [item.caption]), (READ, [_seeds(item)]), (MADE, _speed(item, measured))]
    return [
        (SAYS, [" ".join([item.caption, *_plateaus(item, measured)])]),
        (MADE, _stand_ins(item, measured)),
        (MADE, [_updates(item, measured)]),
        (MADE, _precision(item, measured)),
        (MADE, _rejuvenation(item, measured)),
        (MADE, _selection(item, measured)),
        (MADE, _differences(item, measured)),
        (READ, [_seeds(item)]),
        (READ, _test_sets(item, measured)),
        (READ, _prunable(item, measured)),
        (MADE, _norms(item, measured)),
        (MADE, _students(item, measured)),
        (MADE, _segmentation(item, measured)),
        (MADE, _lasso(item, measured)),
        (MADE, _int8(item)),
        (MADE, _importance(item, measured)),
        (READ, _scoring(item, measured)),
        (MADE, _speed(item, measured)),
        (MADE, _left_out(item)),
        (READ, _published(item)),
        (READ, list(item.notes)),
    ]


def _plateaus(item: Item, measured: Measured) -> list[str]:
    """One sentence for each dense model of the run's own chains: whether it has reached its plateau."""
    if item.key != f"{own.PAPER}/{own.TABLE}":
        return []
    sentences = []
    for row in (row for row in item.rows if row.baseline):
        steps = [each.first.last for each in item.rows if each.first.parent == row.first]
        gain = plateaus.gain(row.chains, measured, [step.text for step in steps if step.kind.continues])
        if gain:
            text = plateaus.said(row.first, gain)
            control = "" if gain.done else "; pruned and retrained models must be compared with the control"
            sentences.append(f"{text[:1].upper()}{text[1:]}{control}.")
    return _distinct(sentences)


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _recipes(item: Item) -> list[str]:
    return _distinct(row.first.recipe for row in item.rows)


def _tasks(item: Item) -> list[str]:
    return _distinct(row.first.task for row in item.rows)


def _stand_ins(item: Item, measured: Measured) -> list[str]:
    """The data and models that stand in for the paper's, as in `Data: Multi30k En-De, for WMT14 En-De`.

    Where a run has the paper's own, these are named once.
    """
    about = item.about

    def listed(kind: str, pairs: list[tuple[str, str]]) -> str:
        titled = measured.config.task if kind == "tasks" else measured.config.recipe
        words = []
        for theirs, ours in pairs:
            title = titled(ours).title
            what = title if title == ours or len(pairs) > MANY else f"{title}, {kind.rstrip('s')} {ours}"
            words.append(what if ours == theirs else f"{what}, for {about[kind][theirs]}")
        return "; ".join(_distinct(words))

    tasks = _distinct((row.paper_task, row.first.task) for row in item.rows)
    recipes = _distinct((row.paper_recipe, row.first.recipe) for row in item.rows)
    return [f"Data: {listed('tasks', tasks)}.", f"Models: {listed('recipes', recipes)}."]


def _updates(item: Item, measured: Measured) -> str:
    """Updates, optimiser and learning rates of all schedules; recipes with equal schedules share a text."""
    heading = "Updates at most (learning rates)"
    if len(_recipes(item)) > MANY:
        return f"{heading}: {_by_schedule(item, measured)}."
    by_text: dict[str, list[str]] = {}
    for recipe in _recipes(item):
        steps = (step for row in item.rows if row.first.recipe == recipe for step in row.first.steps)
        names = _distinct(step.schedule for step in steps if step.kind.trains)
        schedules = {name: measured.config.schedule(recipe, name) for name in names}
        phrases, optimiser = [], None
        for name, schedule in schedules.items():
            by = "" if schedule.optimizer.name == optimiser else f" by {OPTIMISERS[schedule.optimizer.name]}"
            optimiser = schedule.optimizer.name
            phrases.append(f"{name} {schedule.updates:,}{by} ({_rates(schedule)})")
        by_text.setdefault(", ".join(phrases), []).append(recipe)
    if len(by_text) == 1:
        return f"{heading}: {next(iter(by_text))}."
    return (
        f"{heading}: " + "; ".join(f"{', '.join(recipes)}: {text}" for text, recipes in by_text.items()) + "."
    )


def _steps(item: Item, argument: str | None = None) -> list[tuple[str, Step]]:
    """The distinct pairs of a recipe and a step in an item's chains.

    `argument`: only steps with this argument; by default only steps that train.
    """
    pairs = ((row.first.recipe, step) for row in item.rows for step in row.first.steps)
    return _distinct(
        (recipe, step) for recipe, step in pairs if (step.get(argument) if argument else step.kind.trains)
    )


def _rejuvenation(item: Item, measured: Measured) -> list[str]:
    """The rate of rejuvenation relative to retraining, and the other reading of the paper.

    There is no such sentence if no row is rejuvenated.
    """
    recipes = _distinct(recipe for recipe, _ in _steps(item, "initialisation"))
    schedules = {name for recipe in recipes for name in measured.config.recipe(recipe).schedules}
    readings = [
        f"The paper does not state the rate of retraining: here it is {here}, and in the schedules `-{name}` "
        f"it is {there}."
        for name, (here, there) in READINGS.items()
        if f"rejuvenate-{name}" in schedules
    ]
    return (
        [" ".join(["Rejuvenation runs at a tenth of the rate of retraining, as in the paper.", *readings])]
        if recipes
        else []
    )


def _selection(item: Item, measured: Measured) -> list[str]:
    """How checkpoints are selected, in which steps the parent competes, and in which rows it was selected."""
    by_select: dict[str, list[str]] = {}
    for recipe, step in _steps(item):
        by_select.setdefault(measured.config.schedule(recipe, step.schedule).select, []).append(step.schedule)
    if not by_select:
        return []
    most = max(by_select, key=lambda select: len(by_select[select]))
    others = "; ".join(
        f"{SELECTED_BY[select]} in {', '.join(_distinct(steps))}"
        for select, steps in by_select.items()
        if select != most
    )
    competing = _distinct(step.kind.name for _, step in _steps(item) if step.kind.competes)
    parents = f" In {', '.join(competing)} the parent competes, as update 0." if competing else ""
    distilled = any(measured.config.task(task).distilled for task in _tasks(item))
    against = (
        " BLEU is against the references, not the teacher's translations, which the students are trained on."
        if distilled
        else ""
    )
    by_bleu = against if "bleu" in by_select else ""
    unchanged = [row.name for row in item.rows if any(measured.is_its_parent(chain) for chain in row.chains)]
    same = f" The parent itself was selected for {', '.join(unchanged)}." if unchanged else ""
    selected = f"{SELECTED_BY[most]}{f'; {others}' if others else ''}"
    return [f"Checkpoints selected: {selected}.{by_bleu}{_averaged(item, measured)}{parents}{same}"]


def _averaged(item: Item, measured: Measured) -> str:
    """That checkpoints are averages of the weights; empty if they are not."""
    rates = {
        measured.config.schedule(recipe, step.schedule).exponential_moving_average
        for recipe, step in _steps(item)
    } - {0}
    listed = " and ".join(f"{rate:g}" for rate in sorted(rates))
    return (
        f" They are exponential moving averages of the weights ({listed} per update, without Marian's "
        "scaling by words)."
        if rates
        else ""
    )


def _differences(item: Item, measured: Measured) -> list[str]:
    """What compared rows differ in, besides their steps; nothing if they differ in nothing else.

    Precision is compared among rows that have been trained; if none has, it is that of their schedules.
    """
    blocks: dict[Any, list[tuple[str, footing.Footing]]] = {}
    known = any(measured.trained_precision(row.first) for row in item.rows)
    for row in item.rows:
        baseline = row if row.baseline else row.against
        block = blocks.setdefault(baseline.chains if baseline else row.group, [])
        asked, used = footing.of(measured.config, row.first), measured.trained_precision(row.first)
        precision = (used,) if used else () if known else asked.precision
        block.append((row.name, replace(asked, precision=precision)))
    differ = {
        "updates between fresh optimisers": lambda each: " + ".join(f"{length:,}" for length in each.lengths),
        "selection": lambda each: ", ".join(SELECTED_BY[select] for select in each.selection),
        "precision": lambda each: ", ".join(each.precision),
        "batches": lambda each: " or ".join(
            f"{tokens:,} tokens{f' and {sentences} sentences' if sentences else ''} x {accumulate}"
            for tokens, sentences, accumulate in each.batches
        ),
    }
    differences = []
    for what, text in differ.items():
        by_text: dict[str, list[str]] = {}
        for block in blocks.values():
            texts = [(name, text(each)) for name, each in block if what != "precision" or each.precision]
            for name, said in texts if len({said for _, said in texts}) > 1 else ():
                by_text.setdefault(said, []).append(name)
        if by_text:
            differences.append(
                f"{what} ({'; '.join(f'{_several(names)}: {value}' for value, names in by_text.items())})"
            )
    return (
        [
            f"Compared rows differ in {', in '.join(differences)}; all else is equal, including the order of "
            "batches."
        ]
        if differences
        else []
    )


def _several(names: list[str]) -> str:
    """Names of rows; if there are many, only the first and the last."""
    names = _distinct(names)
    return ", ".join(names) if len(names) <= MANY else f"{names[0]} to {names[-1]} ({len(names)} rows)"


def _by_schedule(item: Item, measured: Measured) -> str:
    """The schedules of many recipes: for each schedule, the distinct settings that recipes give it."""
    used = {
        (row.first.recipe, step.schedule): None
        for row in item.rows
        for step in row.first.steps
        if step.kind.trains
    }
    texts: dict[str, list[str]] = {}
    for recipe, name in used:
        schedule = measured.config.schedule(recipe, name)
        by = OPTIMISERS[schedule.optimizer.name]
        texts.setdefault(name, []).append(f"{schedule.updates:,} by {by} ({_rates(schedule)})")
    return ", ".join(f"{name} {' or '.join(_distinct(settings))}" for name, settings in texts.items())


def _rates(schedule: Schedule) -> str:
    """The first and last learning rate of a schedule after its warm-up: `0.005 after warm-up to 0.0005`."""
    rates, updates = schedule.learning_rate, schedule.updates
    warm_up = min(max(rates.warm_up - rates.begin, 0), updates) if isinstance(rates, PeakRate) else 0
    first, last = (f"{rates.at(update):.2g}" for update in (max(warm_up, 1), updates))
    return f"{first}{' after warm-up' if warm_up else ''}{f' to {last}' if last != first else ''}"


def _precision(item: Item, measured: Measured) -> list[str]:
    """The precision that models were trained in, and the rows with another one.

    There is no such sentence if all models were trained in single precision.
    """
    rows_of: dict[str, list[str]] = {}
    for row in item.rows:
        used = _distinct(filter(None, map(measured.trained_precision, row.chains)))
        if used:
            rows_of.setdefault(" and ".join(map(_in_words, used)), []).append(row.name)
    if set(rows_of) <= {PRECISIONS["fp32"]}:
        return []
    most = max(rows_of, key=lambda words: len(rows_of[words]))
    others = "".join(
        f"; in {words}: {', '.join(_distinct(names))}" for words, names in rows_of.items() if words != most
    )
    return [f"Trained in {most}{others}."]


def _in_words(precision: str) -> str:
    return " ".join(
        PRECISIONS.get(word.rstrip(","), word.rstrip(",")) + "," * word.endswith(",")
        for word in precision.split()
    )


def _seeds(item: Item) -> str:
    """The seeds, how their spread is shown, and the rows with other seeds than most."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for row in item.rows:
        by_seeds.setdefault(tuple(chain.seed for chain in row.chains), []).append(row.name)
    most = max(by_seeds, key=lambda seeds: len(by_seeds[seeds]))
    others = "; ".join(
        f"{', '.join(names)}: {', '.join(map(str, seeds))}"
        for seeds, names in by_seeds.items()
        if seeds != most
    )
    return f"{_of_seeds(item, list(map(str, most)))}{f' Other seeds: {others}.' if others else ''}"


def _of_seeds(item: Item, seeds: list[str]) -> str:
    kind = ITEM_KINDS[item.kind]
    if len(seeds) == 1:
        return f"Seed {seeds[0]}.{kind.one_seed}"
    listed = ", ".join(seeds)
    return kind.over_seeds.format(over=f"over seeds {listed}", seeds=listed, first=seeds[0])


def _metrics(item: Item) -> list[Metric]:
    """The metrics of an item's columns, each once, in the order of the registry."""
    shown = {column.metric for column in item.columns}
    return [metric for metric in METRICS.values() if metric.name in shown]


def _translates(item: Item) -> bool:
    return ITEM_KINDS[item.kind].translates or any(metric.translations for metric in _metrics(item))


def _test_sets(item: Item, measured: Measured) -> list[str]:
    """The test sets with their sizes; nothing if the item has no number from a test set."""
    if not _translates(item) and not any(metric.likelihoods for metric in _metrics(item)):
        return []
    of_test_set = [
        column
        for column in item.columns
        if METRICS[column.metric].translations or METRICS[column.metric].likelihoods
    ]
    places = _distinct(column.test_set for column in of_test_set) or [1]
    sets = []
    for task in _tasks(item):
        chains = [chain for row in item.rows for chain in row.chains if chain.task == task]
        named = [name for place in places for name in measured.test_sets(task, place)]
        of = f" of {task}" if len(_tasks(item)) > 1 else ""
        sizes = {
            name: "" if ITEM_KINDS[item.kind].samples_test_set else _size(chains, name, measured)
            for name in named
        }
        sets.append(" and ".join(f"{name}{of}{sizes[name]}" for name in named))
    several = (
        "Test sets, means over them" if "all" in places else "Test set" if places == [1] else "Test sets"
    )
    return [f"{several}: {'; '.join(sets)}."]


def _size(chains: list[Chain], test_set: str, measured: Measured) -> str:
    rows = (measured.scores(chain, test_set) for chain in chains)
    return next((f" ({int(row['sentences']):,} sentences)" for row in rows if row), "")


def _prunable(item: Item, measured: Measured) -> list[str]:
    """What percentages of pruning refer to; nothing if the item has no pruned model."""
    pruned = [row for row in item.rows if any(step.get("scheme") for step in row.first.steps)]
    recipes = _distinct(row.first.recipe for row in pruned)
    settings = {recipe: measured.config.recipe(recipe).prunable.embeddings for recipe in recipes}
    says = {
        "in": "all weight matrices, embeddings and output projection included",
        "out": "all weight matrices but embeddings and output projection",
    }
    if len(set(settings.values())) == 1:
        text = says[next(iter(settings.values()))]
    else:
        text = "; ".join(f"{recipe}: {says[value]}" for recipe, value in settings.items())
    schemes = _distinct(step.get("scheme") for _, step in _steps(item, "scheme"))
    parts = "; ".join(SCHEMES_SAID[scheme] for scheme in schemes if scheme in SCHEMES_SAID)
    return (
        [
            f"Pruning percentages are of the prunable weights: {text}; never biases and layer "
            f"norms{f'; {parts}' if parts else ''}."
        ]
        if settings
        else []
    )


def _norms(item: Item, measured: Measured) -> list[str]:
    """The recipes whose layer norms are in another place than in the papers."""
    before = [
        recipe for recipe in _recipes(item) if measured.config.recipe(recipe).architecture.norm == "pre"
    ]
    return (
        [
            f"Layer norms come before the sub-layers (pre-norm) in {', '.join(before)}; in the paper after "
            "them."
        ]
        if before
        else []
    )


def _students(item: Item, measured: Measured) -> list[str]:
    """The features of Behnke and Heafield's students (defaults of Marian) that ours are trained without."""
    if item.paper != "behnke2021":
        return []
    lacks: dict[str, list[str]] = {}
    for recipe in _recipes(item):
        schedule = measured.config.schedule(recipe, "train")
        without = ["an average of their weights"] * (not schedule.exponential_moving_average)
        without += ["a limit of 100 pieces a side"] * (schedule.max_length is None)
        if without:
            lacks.setdefault(" and ".join(without), []).append(recipe)
    return [
        f"Trained without {what}, which the paper's models have: {', '.join(recipes)}."
        for what, recipes in lacks.items()
    ]


def _segmentation(item: Item, measured: Measured) -> list[str]:
    """How text without spaces between words was segmented."""
    sentences = []
    for row in item.rows:
        task, subwords = measured.config.task(row.first.task), measured.config.subwords(row.first)
        for language in task.languages:
            if name := WITHOUT_SPACES.get(language.lower().replace("_", "-").split("-")[0]):
                by = {"sentencepiece": "SentencePiece segments it"}.get(
                    subwords["type"], f"{subwords['type']} is applied to whole lines"
                )
                sentences.append(
                    f"{name} is not segmented into words first: {by}. The paper does not say how its text is "
                    "segmented; the example that it prints is segmented into words."
                )
    return _distinct(sentences)


def _int8(item: Item) -> list[str]:
    """How our rounding to 8 bits differs from Marian's, which the paper used.

    There is no such sentence if no model is in 8 bits.
    """
    engines = _distinct(step["engine"] for _, step in _steps(item, "engine"))
    return [f"8 bits ({', '.join(engines)}): {ROUNDING}."] if engines else []


def _scoring(item: Item, measured: Measured) -> list[str]:
    """Signatures, engine and beam of the scores, and the meaning of the marks of significance."""
    if "scores" not in item.reads:
        return []
    rows = [row for each in item.rows for chain in each.chains if (row := measured.scores(chain))]
    metrics = _metrics(item)
    sentences = []
    for metric in metrics:
        if metric.signature:
            score, column = metric.signature
            signatures = _distinct(row[column] for row in rows if row.get(column))
            sentences += [f"{score} {', '.join(signatures)}."] if signatures else []
        sentences += [metric.said] if metric.said else []
    sentences = _distinct(sentences)
    if _translates(item) and (searches := _distinct(_search(row) for row in rows if row["hypotheses"])):
        sentences.append(f"Search: {'; '.join(searches)}.")
    elif engines := _distinct(row["engine"] for row in rows):
        sentences.append(f"Likelihoods by {', '.join(engines)}.")
    if (
        ITEM_KINDS[item.kind].tests_bleu
        and METRICS["bleu"] in metrics
        and any(row.against for row in item.rows)
    ):
        by_paper = "; published arrows by the paper's sign test" if item.paper != own.PAPER else ""
        sentences.append(
            "↑/⇑: better than the baseline with p < 0.05/0.01, ↓/⇓: worse, by paired bootstrap over "
            "sentences (1,000 samples); "
            f"†/‡: sign test over sentences, same direction, p < 0.05/0.01; alone where the bootstrap is not "
            f"significant{by_paper}."
        )
    return sentences


def _search(row: Mapping[str, str]) -> str:
    """How a score's translations were searched: `onnx, beam 4, 50 candidates a source piece`."""
    bits = " in 8 bits" if row.get("precision") == "int8" else ""
    candidates = f", {row['shortlist']} candidates a source piece" if row.get("shortlist") else ""
    return f"{row['engine']}{bits}, beam {row['beam']}{candidates}"


def _lasso(item: Item, measured: Measured) -> list[str]:
    """For every recipe that was regularised, what λ is relative to and when a group counts as dead."""
    by_text: dict[str, list[str]] = {}
    sought = False
    for recipe in _recipes(item):
        steps = [
            step
            for row in item.rows
            if row.first.recipe == recipe
            for step in row.first.steps
            if step.get("lambda")
        ]
        if steps:
            lasso = measured.config.recipe(recipe).lasso
            words = lasso.reference_words
            of = f"per {words:,} target words" if words else "over the batch"
            scaled = "each group times the root of its size" if lasso.gamma == "sqrt" else "groups unscaled"
            by_text.setdefault(
                f"λ {of}, {scaled}; dead groups are those {DEAD[lasso.dead].format(lasso.threshold)}",
                [],
            ).append(recipe)
            sought |= any(sparsity_sought(step["lambda"]) is not None for step in steps)
    rules = (
        "; ".join(by_text)
        if len(by_text) < 2
        else "; ".join(f"{', '.join(recipes)}: {text}" for text, recipes in by_text.items())
    )
    sentences = [f"Lasso: {rules}."] if by_text else []
    kinds = _distinct(step["groups"] for _, step in _steps(item, "lambda"))
    sentences += [HEADS_SAID[kind] for kind in kinds if kind in HEADS_SAID]
    if sought:
        sentences.append(
            "λ = to67 and similar: λ was chosen such that this share of the penalised FFN units becomes "
            "small; these units are removed."
        )
    if by_text and any(row.paper_recipe != row.first.recipe for row in item.rows):
        sentences.append(
            "Our λ cannot be compared with the paper's, because its models and schedules are different."
        )
    return sentences


def _importance(item: Item, measured: Measured) -> list[str]:
    """How the importance of components that the item shows was measured, for every recipe."""
    shown = [kind for kind in ANALYSIS_KINDS.values() if kind.name in item.reads and kind.translates]
    by_text: dict[str, list[str]] = {}
    for recipe in _recipes(item):
        importance = measured.config.recipe(recipe).importance
        phrases = []
        if shown:
            some = (
                f"at most {importance.sentences:,} sentences, evenly spaced, of"
                if importance.sentences
                else "all of"
            )
            sets = (
                "development and test set"
                if ITEM_KINDS[item.kind].samples_test_set
                else "the development set"
            )
            phrases.append(
                f"on {some} {sets}{_engines(item, recipe, item.reads, measured)}, beam {importance.beam}"
            )
        phrases += [kind.caption(importance) for kind in shown if kind.caption]
        if phrases:
            by_text.setdefault("; ".join(phrases), []).append(recipe)
    if len(by_text) == 1:
        return [f"Importance {next(iter(by_text))}."]
    return [f"Importance, {', '.join(recipes)}, {text}." for text, recipes in by_text.items()]


def _engines(item: Item, recipe: str, analyses: set[str], measured: Measured) -> str:
    """The engines of analyses, as ` by ctranslate2`; empty if the analyses do not record them."""
    chains = [chain for row in item.rows for chain in row.chains if chain.recipe == recipe]
    frames = (measured.analysis(chain, name) for chain in chains for name in sorted(analyses - {"scores"}))
    engines = _distinct(
        name
        for each in frames
        if each is not None and "engine" in each
        for name in each["engine"].dropna().unique()
    )
    return f" by {', '.join(engines)}" if engines else ""


def _speed(item: Item, measured: Measured) -> list[str]:
    """How speed was measured: engine, precision, shortlist, threads, batch, beam, runs, machine."""
    way = measured.way(item) if SPEED in item.reads else None
    if way is None:
        return []
    rows = [row for each in item.rows if (row := measured.speed(each.first, way))]

    def distinct(column: str) -> str:
        return " or ".join(_distinct(row[column] for row in rows))

    alone = any(metric.reads == SPEED and metric.batch_size == 1 for metric in _metrics(item))
    phrases = [
        f"{way.engine} ({distinct('precision')})",
        "with a shortlist" if way.shortlist else "without a shortlist",
        f"{distinct('threads')} thread{' and a GPU' if rows[0].get('device') == 'cuda' else ''}",
        f"{BATCH_SIZE} sentences a batch{' or one' if alone else ''}",
        f"beam {distinct('beam')}",
        f"medians of {distinct('runs')} runs, loading not counted",
        *(
            ["speed-up over the baseline in rounds with both"]
            if any(column.metric == "speed_up" for column in item.columns)
            else []
        ),
        distinct("cpu"),
        _spread(rows),
    ]
    seed = f" Only seed {item.rows[0].first.seed} was timed." if len(item.rows[0].chains) > 1 else ""
    return [f"Speed: {', '.join(phrases)}.{seed}"]


def _spread(rows: Sequence[Mapping[str, str]]) -> str:
    """How far runs were from their median, and how busy other processes kept the machine."""
    spread = max(
        (float(row["seconds_high"]) - float(row["seconds_low"])) / 2 / float(row["seconds"]) for row in rows
    )
    others = max(float(row["others_cpu"] or 0) for row in rows)
    busy = (
        f"not idle: other processes took up to {others:.0%} of a core"
        if others > IDLE
        else "machine otherwise idle"
    )
    return f"runs within ±{spread:.0%} of their median at most, {busy}"


def _left_out(item: Item) -> list[str]:
    return [f"Left out, since nothing stands in for it: {', '.join(item.left_out)}."] if item.left_out else []


def _published(item: Item) -> list[str]:
    """The source of the published values: the paper, and its data and models."""
    published: list[Row] = [row for row in item.rows if row.published]
    if not published or (item.columns and not any(column.published for column in item.columns)):
        return []
    about = item.about
    data = ", ".join(_distinct(about["tasks"][row.paper_task] for row in published))
    models = ", ".join(_distinct(about["recipes"][row.paper_recipe] for row in published))
    bleu = any(METRICS[column.metric].signature == BLEU and column.published for column in item.columns)
    counted = f" Its BLEU is {COUNTED[item.paper]}." if bleu and item.paper in COUNTED else ""
    return [f"Published: {about['short']}, {item.number}, {data}, {models}.{counted}"]
