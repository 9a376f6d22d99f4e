"""Whether pruning pays: the best pruned model beside models of its cost that are trained from scratch."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nmtprune.experiment.chain import Chain, Step, parse_steps
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.step_kinds import INT8, SLICED, SPARSE
from nmtprune.foundation.errors import UserError

EQUAL = 1.1  # costs that differ by at most this factor count as equal, as speeds of one shape do


@dataclass(frozen=True)
class Offer:
    """A model that may be picked: `cost` by one criterion, positive, the lower the better.

    `enough`: whether it loses little enough to be picked. `numbers`: its quality and its cost in words.
    """

    chain: Chain
    quality: float
    cost: float
    enough: bool
    numbers: str


@dataclass(frozen=True)
class Payoff:
    """A pruned model beside a model that is trained from scratch in the shape it has.

    `pruned`: the cheapest that loses little enough or, if all lose more, the best; None if none is measured
    in the precision of `scratch`. `scratch`: the cheapest that costs and loses as little; otherwise the best
    that costs as little; otherwise the cheapest; None if none is measured. `pays`: whether `pruned` is worth
    its training; None if nothing measured tells. `wanted`: a chain that would tell, where one is known.
    """

    pruned: Offer | None
    scratch: Offer | None
    pays: bool | None
    wanted: Chain | None = None


def is_pruned(chain: Chain) -> bool:
    """Whether a mask holds weights of a model at zero, or its weights are what was left of a larger model."""
    return _is_masked(chain) or any(step.kind.leaves == SLICED for step in _kept_since(chain))


def is_from_scratch(chain: Chain) -> bool:
    """Whether a model has the shape that its weights were drawn or imported in, and no weight is masked.

    It may have been trained further, and rounded.
    """
    return not _is_masked(chain) and all(
        step.kind.continues or INT8 in (step.kind.leaves, *step.kind.follows) for step in _kept_since(chain)
    )


def _has_a_shape_found_by_pruning(chain: Chain) -> bool:
    return any(step.kind.leaves == SLICED for step in chain.steps)


def before_mask(chain: Chain) -> Chain | None:
    """The model whose weights a sparse model's masks hold at zero; None if the model is not sparse."""
    if chain.form != SPARSE:
        return None
    return next(each for each in chain.ancestors() if each.form != SPARSE)


def _is_masked(chain: Chain) -> bool:
    """Whether a mask holds weights at zero, in single precision or in 8 bits."""
    forms = (step.kind.leaves for step in reversed(chain.steps))
    return next(form for form in forms if form not in (None, INT8)) == SPARSE


def _kept_since(chain: Chain) -> list[Step]:
    """The steps after the one that drew or imported a model's weights."""
    return [*itertools.takewhile(lambda step: not step.kind.begins_anew, reversed(chain.steps))][::-1]


def picked(offers: Iterable[Offer]) -> Offer | None:
    """The cheapest model that loses little enough; None if all lose more."""
    return _cheapest(each for each in offers if each.enough)


def payoff(config: Config, offers: Collection[Offer]) -> Payoff | None:
    """The best pruned model beside one from scratch; None if none can be picked, or no model is pruned.

    Models in 8 bits are compared with such if the pick is in 8 bits, others with others.
    """
    if (pick := picked(offers)) is None:
        return None
    alike = [each for each in offers if _is_rounded(each) == _is_rounded(pick)]
    pruned = [each for each in alike if is_pruned(each.chain)]
    if not pruned:
        other = picked(each for each in offers if is_pruned(each.chain))
        wanted = other and _rounded_like(pick.chain, other.chain, config)
        return Payoff(None, pick, None, wanted) if wanted else None
    best = picked(pruned)
    if best is None:
        return Payoff(max(pruned, key=lambda each: each.quality), None, False)
    scratch = [each for each in alike if is_from_scratch(each.chain)]
    as_cheap = [each for each in scratch if each.cost <= EQUAL * best.cost]
    if good := picked(as_cheap):
        plain = [each for each in as_cheap if not _has_a_shape_found_by_pruning(each.chain)]
        alternative = picked(each for each in plain if each.cost <= EQUAL * good.cost)
        return Payoff(best, alternative or good, False)
    if as_cheap:
        return Payoff(best, max(as_cheap, key=lambda each: each.quality), True)
    return Payoff(best, _cheapest(scratch), None, _of_its_shape(best.chain, config))


def _cheapest(offers: Iterable[Offer]) -> Offer | None:
    return min(offers, key=lambda each: (each.cost, -each.quality, str(each.chain)), default=None)


def _is_rounded(offer: Offer) -> bool:
    return offer.chain.quantised_for is not None


def _rounded_like(rounded: Chain, pruned: Chain, config: Config) -> Chain | None:
    """A pruned model in the 8 bits of another one; None if it cannot be made."""
    engine = rounded.quantised_for
    return _extended(pruned, [f"int8-{engine}"], config) if engine else None


def _of_its_shape(chain: Chain, config: Config) -> Chain | None:
    """The model of a sliced model's shape that is trained from scratch; None if the model is not sliced."""
    sliced = next((each for each in chain.ancestors() if each.last.kind.leaves == SLICED), None)
    if _is_masked(chain) or sliced is None:
        return None
    rounded = [f"int8-{chain.quantised_for}"] if chain.quantised_for else []
    return _extended(sliced, ["restart", *rounded], config)


def _extended(chain: Chain, steps: list[str], config: Config) -> Chain | None:
    """A chain with more steps; None if it cannot be made."""
    try:
        whole = Chain(chain.task, chain.recipe, chain.seed, parse_steps("/".join([chain.steps_text, *steps])))
        check_chain(config, whole)
    except UserError:
        return None
    return whole


def sentences(config: Config, offers: Collection[Offer], what: str, busy: bool = False) -> list[str]:
    """Whether pruning pays, in one or two sentences; none without pruned models.

    `what`: the noun for the cost. They are to stand beneath the pick, which is `this model`. `busy`: whether
    other processes kept the machine busy while the costs were measured.
    """
    made, pick, at = payoff(config, offers), picked(offers), f"at this {what}"
    if made is None:
        return []
    if busy:
        return [
            f"Whether pruning pays {at} is not known: other processes ran while models were timed.",
            "To compare, time them with nothing else running.",
        ]
    pruned, scratch = made.pruned, made.scratch
    to_compare = (
        f"To compare, make {made.wanted}."
        if made.wanted
        else "To compare, train a recipe with fewer or narrower layers."
    )
    if pruned is None:
        return [f"Whether pruning pays {at} is not known: no pruned model in 8 bits is measured.", to_compare]
    if made.pays is None:
        nearest = f"; the nearest, {scratch.chain}, has {scratch.numbers}" if scratch else ""
        unknown = f"Whether pruning pays {at} is not known: no model trained from scratch has it{nearest}."
        return [unknown, to_compare]
    if scratch is None:
        rounded = " in 8 bits" if _is_rounded(pruned) else ""
        return [
            f"Pruning loses too much: the best pruned model{rounded}, {pruned.chain}, has {pruned.numbers}."
        ]
    if made.pays:
        best = f"trained from scratch, the best is {scratch.chain}, {scratch.numbers}"
        return [f"Pruning pays {at}, as far as is measured: {best}."]
    named = "this model" if scratch is pick else f"{scratch.chain}, {scratch.numbers},"
    if _has_a_shape_found_by_pruning(scratch.chain):
        verdict = f"Pruning pays {at} for a shape, not for weights: {named} has one that pruning found, and "
    else:
        verdict = f"Pruning does not pay {at}: {named} "
    best = [f"The best pruned model is {pruned.chain}: {pruned.numbers}."] if pruned is not pick else []
    return [f"{verdict}is trained from scratch.", *best]


def zeros(ratios: Collection[tuple[float, float]]) -> str | None:
    """What zeroed weights buy: size and speed of sparse models, times those of the same models before.

    None without models.
    """
    if not ratios:
        return None
    sizes, speeds = (_span(each) for each in zip(*ratios, strict=True))
    count = f"{len(ratios)} model{'s' if len(ratios) > 1 else ''}"
    numbers = f"{sizes} times the size and {speeds} times the speed of the same without ({count})"
    is_faster = max(speed for _, speed in ratios) > EQUAL
    is_smaller = max(size for size, _ in ratios) < 1
    if is_smaller and not is_faster:
        return f"Zeros make files smaller, not translation faster: sparse models have {numbers}."
    return f"Sparse models have {numbers}."


def _span(values: Collection[float]) -> str:
    """`0.98 to 1.04`, or one number if both are printed alike."""
    return " to ".join(dict.fromkeys(f"{each:.2f}" for each in (min(values), max(values))))
