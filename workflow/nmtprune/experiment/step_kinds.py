"""The registry of kinds of steps: one entry for each, with everything that is known about it.

`make(config, chain, state)` in `steps/<module>.py` makes a step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmtprune.experiment import paths
from nmtprune.experiment.components import of_shape, read_component
from nmtprune.foundation.errors import suggest
from nmtprune.foundation.known import known

if TYPE_CHECKING:
    from nmtprune.experiment.chain import Chain, Step
    from nmtprune.experiment.config import Config

SCHEMES = ("global", "uniform", "distribution", "local", "layer")
INITIALISATIONS = ("zero", "external")
GROUPS = ("ffn", "ffn+att", "ffn+heads", "blocks8")
WHERE = ("enc", "dec", "both")
INT8_ENGINES = ("ctranslate2", "onnx")
SOUGHT = "to"  # prefix of the sparsity in percent for which a lambda is sought
INITIAL = "0"  # argument of `at` for the weights before the first update
TICKET, LATE = "ticket", "at"  # arguments of `restart` for initial weights and for those of a snapshot
DENSE, SPARSE, SLICED, INT8 = "dense", "sparse", "sliced", "quantised"
DEAD_RULE = ("dead", "threshold")  # keys of a recipe's `lasso` for slicing; the others are for training

# --- arguments, as steps spell them


def _schedule(arguments: tuple[str, ...]) -> dict[str, str]:
    return {"variant": "-".join(arguments)} if arguments else {}


def _name(arguments: tuple[str, ...]) -> dict[str, str]:
    if not arguments:
        raise ValueError("a name is missing")
    return {"name": "-".join(arguments)}


_NUMBER = r"(0|[1-9]\d*)(\.\d*[1-9])?"


def _percent(text: str) -> str:
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(f"`{text}` is not a percentage; write it as 50 or 12.5")
    if not 0 < float(text) < 100:
        raise ValueError(f"{text} percent is not between 0 and 100")
    return text


def _scheme_and_percent(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) not in (2, 3):
        raise ValueError("a scheme and a percentage are needed")
    scheme, percent, *only = arguments
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme `{scheme}`; {suggest(scheme, SCHEMES)}")
    return {"scheme": scheme, "percent": _percent(percent), **({"class": only[0]} if only else {})}


def _one_of(
    key: str, valid: tuple[str, ...], optional: bool = False
) -> Callable[[tuple[str, ...]], dict[str, str]]:
    def read(arguments: tuple[str, ...]) -> dict[str, str]:
        if not arguments and optional:
            return {}
        value = "-".join(arguments)
        if value not in valid:
            raise ValueError(f"unknown {key} `{value}`; {suggest(value, valid)}")
        return {key: value}

    return read


def _rejuvenate(arguments: tuple[str, ...]) -> dict[str, str]:
    return _one_of("initialisation", INITIALISATIONS)(arguments[:1]) | _schedule(arguments[1:])


def _restart(arguments: tuple[str, ...]) -> dict[str, str]:
    if arguments[:1] != (LATE,):
        return _one_of("weights", (TICKET,), optional=True)(arguments)
    if len(arguments) != 2:
        raise ValueError("one percentage is needed after `at`")
    return {"weights": LATE, "percent": _percent(arguments[1]), **_schedule(arguments)}


def _lasso(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) < 3:
        raise ValueError("groups, a place and a lambda are needed")
    groups, where, penalty, *variant = arguments
    for value, valid, what in ((groups, GROUPS, "groups"), (where, WHERE, "place")):
        if value not in valid:
            raise ValueError(f"unknown {what} `{value}`; {suggest(value, valid)}")
    if penalty.startswith(SOUGHT):
        _percent(penalty.removeprefix(SOUGHT))
        if groups == "blocks8":
            raise ValueError(
                "a sparsity counts hidden units, and the groups of `blocks8` are none; give a lambda"
            )
    elif not re.fullmatch(_NUMBER, penalty):
        raise ValueError(
            f"`{penalty}` is not a lambda; write it as 1 or 0.15, or to67 for the lambda that leads to a "
            "sparsity of 67 %"
        )
    return {"groups": groups, "where": where, "lambda": penalty, **_schedule(tuple(variant))}


def sparsity_sought(penalty: str) -> float | None:
    """The percentage in a strength such as `to67`, for which a lambda is sought; None for a lambda itself."""
    return float(penalty.removeprefix(SOUGHT)) if penalty.startswith(SOUGHT) else None


def _part_of_training(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) != 1:
        raise ValueError("one percentage is needed")
    return {"percent": INITIAL if arguments[0] == INITIAL else _percent(arguments[0])}


def _components(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) != 1:
        raise ValueError("components are needed, joined by +")
    named = arguments[0].split("+")
    for name in named:
        read_component(name)
    if len(set(named)) < len(named):
        raise ValueError("a component is named twice")
    return {"components": arguments[0]}


def _count(arguments: tuple[str, ...]) -> dict[str, str]:
    if not arguments or not re.fullmatch(r"[1-9]\d*", arguments[0]):
        raise ValueError("a number of components, at least 1, is needed")
    return {"count": arguments[0], **_schedule(arguments[1:])}


def _nothing(arguments: tuple[str, ...]) -> dict[str, str]:
    if arguments:
        raise ValueError("it takes no argument")
    return {}


# --- what may come before


def _after_a_training(step: Step, before: tuple[Step, ...], form: str) -> str | None:
    root, last = before[0], before[-1]
    if not last.kind.trains:
        return f"follows a step that trains, and `{last}` does not"
    if step["percent"] == INITIAL and (len(before) > 1 or not root.kind.trains):
        return f"is the initial weights of a `train` that begins the chain, and not of `{last}`"
    return None


def _after_first_weights(step: Step, before: tuple[Step, ...], form: str) -> str | None:
    root = before[0]
    return (
        None
        if root.kind.trains
        else f"needs the initial weights of a `train`, and `{root}` has none; valid: continue"
    )


def _ticket(step: Step, before: tuple[Step, ...], form: str) -> str | None:
    root = before[0]
    if not step.get("weights"):
        return None
    needed = "the initial weights" if step["weights"] == TICKET else "early weights"
    if not root.kind.trains:
        return f"needs {needed} of a `train`, and `{root}` has none; valid: restart"
    if form == SLICED:
        return (
            f"needs {needed} of a `train`, and those are of another shape than the sliced "
            "model's; valid: restart"
        )
    return None


def _of_whole_layers(step: Step, before: tuple[Step, ...], form: str) -> str | None:
    taken = next((each for each in before if each.kind.needs_order and each.kind.leaves == SLICED), None)
    if step["engine"] != "ctranslate2" or not taken:
        return None
    return f"needs layers with all of their sub-layers, and `{taken}` takes some of these; valid: int8-onnx"


# --- what it asks of a recipe


def _of_known_architecture(
    misfit: Callable[[Config, Chain], str | None],
) -> Callable[[Config, Chain], str | None]:
    """Wrap a check of the recipe's architecture, which is skipped for an import, since it brings its own."""
    return lambda config, chain: None if chain.root.kind.imports else misfit(config, chain)


@_of_known_architecture
def _has_class(config: Config, chain: Chain) -> str | None:
    only = chain.last.get("class")
    if only is None or only in (valid := config.recipe(chain.recipe).prunable_classes):
        return None
    return f"recipe `{chain.recipe}` has no weight class `{only}`; {suggest(only, valid)}"


@_of_known_architecture
def _has_components(config: Config, chain: Chain) -> str | None:
    shape = config.recipe(chain.recipe).architecture.shape
    valid = list(map(str, of_shape(shape))) if shape else []
    unknown = [name for name in chain.last["components"].split("+") if name not in valid] if shape else []
    return (
        f"recipe `{chain.recipe}` has no component `{unknown[0]}`; {suggest(unknown[0], valid)}"
        if unknown
        else None
    )


@_of_known_architecture
def _orders_enough(config: Config, chain: Chain) -> str | None:
    most = config.recipe(chain.recipe).importance.group
    if int(chain.last["count"]) <= most:
        return None
    return f"`{chain.last}` takes more components than `importance.group` of recipe `{chain.recipe}`: {most}"


@_of_known_architecture
def _has_own_layers(config: Config, chain: Chain) -> str | None:
    tied = config.recipe(chain.recipe).architecture.tied_decoder_layers
    why = f"`{chain.last}` needs decoder layers of their own, and those of recipe `{chain.recipe}` are tied"
    return _orders_enough(config, chain) or (why if tied else None)


@_of_known_architecture
def _is_known_to_engine(config: Config, chain: Chain) -> str | None:
    if chain.last["engine"] != "ctranslate2" or not config.recipe(chain.recipe).architecture.has_ssru:
        return None
    return f"CTranslate2 does not know the SSRU of recipe `{chain.recipe}`; valid: int8-onnx"


def _is_kept(config: Config, chain: Chain) -> str | None:
    return None if chain.last["percent"] == INITIAL else _is_kept_by(known(chain.parent), config, chain)


def _has_ticket(config: Config, chain: Chain) -> str | None:
    return _is_kept_by(chain.root_chain, config, chain) if chain.last.get("weights") == LATE else None


def _is_kept_by(trained: Chain, config: Config, chain: Chain) -> str | None:
    """Why the snapshot that a chain's last step begins with is not kept by the training `trained`."""
    percent = chain.last["percent"]
    kept = [f"{each:g}" for each in config.schedule(chain.recipe, trained.last.schedule).snapshots]
    if percent in kept:
        return None
    return (
        f"recipe `{chain.recipe}` keeps snapshots of `{trained.last}` at {', '.join(kept) or 'no'} "
        f"percent, not at {percent}"
    )


# --- what it reads


def selected(chain: Chain) -> Path:
    """The parent's selected checkpoint."""
    return paths.checkpoint_of(known(chain.parent))


def latest(chain: Chain) -> Path:
    """The parent's latest checkpoint, for steps that are phases of one training.

    If the parent does not train, it is its only checkpoint.
    """
    parent = known(chain.parent)
    return paths.model(parent) / paths.LAST if parent.last.kind.trains else selected(chain)


def unrounded(chain: Chain) -> Path:
    """The checkpoint of the parent before rounding, since training updates unrounded weights."""
    parent = known(chain.parent)
    return paths.checkpoint_of(known(parent.parent) if parent.last.kind.leaves == INT8 else parent)


def kept_on_the_way(chain: Chain) -> Path:
    """The checkpoint that the parent's training saved at the percentage in the step's argument."""
    directory, percent = paths.model(known(chain.parent)), chain.last["percent"]
    return directory / paths.INITIAL if percent == INITIAL else paths.snapshot(directory, percent)


def _first_weights(chain: Chain) -> list[Path]:
    return [paths.first_weights(chain)]


def ticket(chain: Chain) -> Path | None:
    """The checkpoint whose weights a `restart` begins with; None if it draws new weights."""
    weights = chain.last.get("weights")
    if weights == TICKET:
        return paths.first_weights(chain)
    return paths.snapshot(paths.model(chain.root_chain), chain.last["percent"]) if weights == LATE else None


def _weights_of_ticket(chain: Chain) -> list[Path]:
    return [file] if (file := ticket(chain)) else []


def _weights_of_first_model(chain: Chain) -> list[Path]:
    return [paths.checkpoint_of(chain.root_chain)] if chain.last["initialisation"] == "external" else []


# --- what it depends on


def _drawn(config: Config, chain: Chain) -> dict[str, Any]:
    return {"architecture": config.recipe(chain.recipe).architecture.said, "seed": chain.seed}


def prunable(config: Config, chain: Chain) -> dict[str, Any]:
    """Which weights of a recipe's model a pruning percentage counts."""
    return {"prunable": config.recipe(chain.recipe).prunable.said}


def dead_rule(config: Config, chain: Chain) -> dict[str, Any]:
    """The rule for dead groups in a recipe's model."""
    lasso = config.recipe(chain.recipe).lasso.whole
    return {key: value for key, value in lasso.items() if key in DEAD_RULE}


def _shrinking(config: Config, chain: Chain) -> dict[str, Any]:
    lasso = config.recipe(chain.recipe).lasso.whole
    return {"lasso": {key: value for key, value in lasso.items() if key not in DEAD_RULE}}


def _checkpoint(config: Config, chain: Chain) -> dict[str, Path]:
    return config.imported(chain.last["name"]).own_files


@dataclass(frozen=True, kw_only=True)
class StepKind:
    """A kind of step.

    `usage`: its spelling; `read_arguments` reads the parts between hyphens. `about`: what it does, as
    docs/chains.md prints it. `module`: the module of `steps/` that makes it. `rule`: the rule of
    models.smk that runs it. `version`: raised when the implementation changes what the step computes.

    `follows`: the forms of models it may follow; empty for the root of a chain. `leaves`: the form it
    leaves, or None if the parent's form stays. `refuses`: the reason why it cannot follow these steps,
    which leave a model of this form, or None.

    `begins_with`: the checkpoint that it begins with; `reads_too`: other checkpoints that it reads.
    `needs_order`: it takes the `count` least important components of its parent, from the parent's
    analysis `order`. `own_files`: the user's own files that it reads, by name; their content enters the
    digest.

    `settings`: the part of the configuration it depends on besides its schedule. `of_transformers`: it
    needs a Transformer. `misfit`: the reason why a recipe cannot have it, or None.

    `trains`: it updates weights by a schedule of the recipe. `selects`: it stores a choice (a mask, see
    `pruning/selection.py`), not a model. `draws`: it begins with newly drawn weights; `redraws`: with
    other weights than its ancestors began with. `competes`: the parent may be selected, as the
    checkpoint of update 0. `continues`: it only trains a dense model further, like controls. `snapshot`:
    it takes a checkpoint from the training before it and makes none itself.
    """

    name: str
    usage: str
    about: str
    read_arguments: Callable[[tuple[str, ...]], dict[str, str]]
    module: str
    rule: str
    version: int = 1
    follows: tuple[str, ...] = ()
    leaves: str | None = None
    refuses: Callable[[Step, tuple[Step, ...], str], str | None] = lambda step, before, form: None
    begins_with: Callable[[Chain], Path] = selected
    reads_too: Callable[[Chain], Collection[Path]] = lambda chain: ()
    needs_order: bool = False
    own_files: Callable[[Config, Chain], dict[str, Path]] = lambda config, chain: {}
    settings: Callable[[Config, Chain], dict[str, Any]] = lambda config, chain: {}
    of_transformers: bool = False
    misfit: Callable[[Config, Chain], str | None] = lambda config, chain: None
    trains: bool = False
    selects: bool = False
    draws: bool = False
    redraws: bool = False
    competes: bool = False
    continues: bool = False
    snapshot: bool = False

    @property
    def imports(self) -> bool:
        """Whether it begins a chain with weights from elsewhere."""
        return not self.follows and not self.trains

    @property
    def begins_anew(self) -> bool:
        """Whether no weight comes from a parent."""
        return self.draws or not self.follows

    @property
    def slices(self) -> bool:
        """Whether it changes the model's shape without training."""
        return self.leaves == SLICED and not self.trains

    def reads(self, chain: Chain) -> set[Path]:
        """The checkpoints of other models that a chain's last step reads.

        Masks that it reads as well are not included, since they are never freed.
        """
        return {self.begins_with(chain), *self.reads_too(chain)} if chain.parent else set()


STEP_KINDS = {
    kind.name: kind
    for kind in (
        StepKind(
            name="train",
            usage="train[-<schedule>]",
            about="trains from scratch",
            read_arguments=_schedule,
            module="training",
            rule="train",
            leaves=DENSE,
            settings=_drawn,
            trains=True,
            draws=True,
        ),
        StepKind(
            name="import",
            usage="import-<name>",
            about="begins with a trained model of this name in `imports` (config.yaml)",
            read_arguments=_name,
            module="import_checkpoint",
            rule="import_checkpoint",
            leaves=DENSE,
            own_files=_checkpoint,
        ),
        StepKind(
            name="continue",
            usage="continue[-<schedule>]",
            about="trains the model further; the parent competes when the checkpoint is selected",
            read_arguments=_schedule,
            module="training",
            rule="continue_training",
            version=2,
            follows=(DENSE, SLICED),
            leaves=DENSE,
            trains=True,
            competes=True,
            continues=True,
        ),
        StepKind(
            name="prune",
            usage="prune-<scheme>-<percent>[-<class>]",
            about=(
                "sets the smallest weights to zero; with a class, only those among them that are in this "
                "weight class"
            ),
            read_arguments=_scheme_and_percent,
            module="selection",
            rule="prune",
            follows=(DENSE, SPARSE, SLICED),
            leaves=SPARSE,
            settings=prunable,
            misfit=_has_class,
            selects=True,
        ),
        StepKind(
            name="retrain",
            usage="retrain[-<schedule>]",
            about="trains the sparse model further; pruned weights stay at exactly zero",
            read_arguments=_schedule,
            module="training",
            rule="retrain",
            version=2,
            follows=(SPARSE,),
            leaves=SPARSE,
            trains=True,
            competes=True,
        ),
        StepKind(
            name="rejuvenate",
            usage="rejuvenate-<zero|external>[-<schedule>]",
            about=(
                "frees the pruned weights, at zero or at the values of the chain's first model, and trains "
                "all weights further"
            ),
            read_arguments=_rejuvenate,
            module="rejuvenate",
            rule="rejuvenate",
            version=2,
            follows=(SPARSE,),
            leaves=DENSE,
            reads_too=_weights_of_first_model,
            trains=True,
            competes=True,
        ),
        StepKind(
            name="restart",
            usage="restart[-ticket|-at-<percent>]",
            about=(
                "trains the pruned or sliced shape from scratch: from newly drawn weights, or (`ticket`) "
                "from the chain's initial ones, or (`at`) from those of its first training at this "
                "percentage, for the updates that are left"
            ),
            read_arguments=_restart,
            module="restart",
            rule="restart",
            version=2,
            follows=(SPARSE, SLICED),
            refuses=_ticket,
            reads_too=_weights_of_ticket,
            settings=_drawn,
            misfit=_has_ticket,
            trains=True,
            draws=True,
            redraws=True,
        ),
        StepKind(
            name="lasso",
            usage="lasso-<groups>-<where>-<lambda>[-<schedule>]",
            about="trains under a group lasso, which drives whole groups of weights towards zero",
            read_arguments=_lasso,
            module="lasso",
            rule="lasso",
            version=2,
            follows=(DENSE, SLICED),
            begins_with=latest,
            settings=_shrinking,
            of_transformers=True,
            trains=True,
        ),
        StepKind(
            name="slice",
            usage="slice",
            about="removes dead hidden units, heads and sub-layers",
            read_arguments=_nothing,
            module="slice",
            rule="slice_model",
            follows=(DENSE, SLICED),
            leaves=SLICED,
            begins_with=latest,
            settings=lambda config, chain: {"lasso": dead_rule(config, chain)},
            of_transformers=True,
        ),
        StepKind(
            name="converge",
            usage="converge[-<schedule>]",
            about="trains further without the lasso",
            read_arguments=_schedule,
            module="training",
            rule="converge",
            version=2,
            follows=(DENSE, SLICED),
            begins_with=latest,
            trains=True,
        ),
        StepKind(
            name="ablate",
            usage="ablate-<component>[+<component>...]",
            about="silences residual sub-layers (their outputs become zero)",
            read_arguments=_components,
            module="selection",
            rule="ablate",
            follows=(DENSE, SPARSE, SLICED),
            leaves=SPARSE,
            of_transformers=True,
            misfit=_has_components,
            selects=True,
        ),
        StepKind(
            name="rewind",
            usage="rewind-<k>[-<schedule>]",
            about=(
                "sets the k least important components to their initial values and trains all weights further"
            ),
            read_arguments=_count,
            module="rewind",
            rule="utilise",
            version=2,
            follows=(DENSE,),
            refuses=_after_first_weights,
            reads_too=_first_weights,
            needs_order=True,
            of_transformers=True,
            misfit=_orders_enough,
            trains=True,
            competes=True,
        ),
        StepKind(
            name="drop",
            usage="drop-<k>[-<schedule>]",
            about="trains from scratch a model that lacks the k least important components",
            read_arguments=_count,
            module="drop",
            rule="utilise",
            version=2,
            follows=(DENSE,),
            leaves=SLICED,
            needs_order=True,
            settings=_drawn,
            of_transformers=True,
            misfit=_has_own_layers,
            trains=True,
            draws=True,
        ),
        StepKind(
            name="cut",
            usage="cut-<k>[-<schedule>]",
            about="removes the k least important components and trains the others further",
            read_arguments=_count,
            module="cut",
            rule="utilise",
            follows=(DENSE, SLICED),
            leaves=SLICED,
            needs_order=True,
            of_transformers=True,
            misfit=_has_own_layers,
            trains=True,
            competes=True,
        ),
        StepKind(
            name="int8",
            usage="int8-<engine>",
            about="rounds the weights to 8 bits as this engine does",
            read_arguments=_one_of("engine", INT8_ENGINES),
            module="int8",
            rule="int8",
            follows=(DENSE, SPARSE, SLICED),
            leaves=INT8,
            refuses=_of_whole_layers,
            of_transformers=True,
            misfit=_is_known_to_engine,
        ),
        StepKind(
            name="finetune",
            usage="finetune[-<schedule>]",
            about="trains the rounded model further, with the rounding in place (straight-through)",
            read_arguments=_schedule,
            module="training",
            rule="finetune",
            version=2,
            follows=(INT8,),
            begins_with=unrounded,
            trains=True,
            competes=True,
        ),
        StepKind(
            name="at",
            usage="at-<percent>",
            about=(
                "takes the checkpoint after this percentage of the training before it; `train/at-0` has the "
                "initial weights"
            ),
            read_arguments=_part_of_training,
            module="at",
            rule="at",
            follows=(DENSE, SPARSE, SLICED, INT8),
            refuses=_after_a_training,
            begins_with=kept_on_the_way,
            misfit=_is_kept,
            snapshot=True,
        ),
    )
}


def of_rule(rule: str) -> str:
    """The steps that a rule makes, as the constraint of its wildcard.

    Selecting steps directly before them are included.
    """
    made = "|".join(kind.name for kind in STEP_KINDS.values() if kind.rule == rule)
    selecting = "|".join(kind.name for kind in STEP_KINDS.values() if kind.selects)
    return rf"(?:(?:{selecting})-[^/]+/)*(?:{made})(?:-[^/]+)?"
