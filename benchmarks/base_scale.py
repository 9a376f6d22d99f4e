"""Seconds and memory of every step on masks and files at full scale, with random weights.

    python benchmarks/base_scale.py [--recipe base|see2016] [--only OPERATION ...] [--rounds 1]

`base`: Transformer base with 41,980 types on each side and nothing shared (108.6M parameters);
`see2016`: the 4+4-layer LSTM of 1000 units with words (216M). Each operation runs in its own process,
which first makes or reads its input. Memory is the peak resident set of that process (Linux), including
the model. It is printed as a multiple of the model's bytes in single precision, together with what the
operation adds to the memory before it. `nothing` is Python with its libraries. CPU seconds hardly change
when other jobs share the machine; wall-clock seconds do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import command_line, in_processes, measure, parse, publish

from nmtprune.analysis import weights
from nmtprune.experiment.step_kinds import SCHEMES
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.schemes import masks
from nmtprune.scoring import size
from nmtprune.store import checkpoints

PERCENT = "80"
State = dict[str, torch.Tensor]


def base(types: int = 41_980, d: int = 512, ffn: int = 2048, layers: int = 6) -> dict[str, tuple[int, ...]]:
    """Shapes of Transformer base, or of a Transformer of another size, by parameter name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for side, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        shapes[f"{side}.embed_tokens.weight"] = (types, d)
        for layer in range(layers):
            prefix = f"{side}.layers.{layer}"
            for attention in attentions:
                for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    shapes |= {
                        f"{prefix}.{attention}.{projection}.weight": (d, d),
                        f"{prefix}.{attention}.{projection}.bias": (d,),
                    }
                shapes |= {f"{prefix}.{attention}_layer_norm.{kind}": (d,) for kind in ("weight", "bias")}
            shapes |= {f"{prefix}.fc1.weight": (ffn, d), f"{prefix}.fc1.bias": (ffn,)}
            shapes |= {f"{prefix}.fc2.weight": (d, ffn), f"{prefix}.fc2.bias": (d,)}
            shapes |= {f"{prefix}.final_layer_norm.{kind}": (d,) for kind in ("weight", "bias")}
    return shapes | {"decoder.output_projection.weight": (types, d)}


def see2016() -> dict[str, tuple[int, ...]]:
    """Shapes of the LSTM of See et al. 2016 by parameter name."""
    types, n, layers = 50_000, 1000, 4
    shapes: dict[str, tuple[int, ...]] = {}
    for side in ("encoder", "decoder"):
        shapes[f"{side}.embed_tokens.weight"] = (types, n)
        shapes |= {
            f"{side}.lstm.weight_{kind}_l{layer}": (4 * n, n)
            for layer in range(layers)
            for kind in ("ih", "hh")
        }
    return shapes | {
        "decoder.attention.output.weight": (n, 2 * n),
        "decoder.output_projection.weight": (types, n),
    }


def tiny() -> dict[str, tuple[int, ...]]:
    """Shapes of a small Transformer for testing this benchmark."""
    return base(types=1000, d=32, ffn=64, layers=1)


SHAPES = {"base": base, "see2016": see2016, "tiny": tiny}


def state(recipe: str) -> State:
    """Random weights of a recipe by parameter name."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=generator).mul_(0.05) for name, shape in SHAPES[recipe]().items()
    }


def kept(weights_of: State) -> State:
    """Masks from a fixed threshold, since schemes are measured separately."""
    return {name: tensor.abs().gt_(0.064).bool() for name, tensor in prunable(weights_of, "in").items()}


def _analyse(made: State) -> None:
    words = {"source": torch.arange(len(made["encoder.embed_tokens.weight"])) > 3}
    words["target"] = torch.arange(len(made["decoder.embed_tokens.weight"])) > 3
    weights.facts(made, words)
    weights.pictures(made)


def operations(folder: Path, recipe: str) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """By name, a function that makes an operation's input outside the clock, and the operation.

    Files are written by operations before those that read them.
    """

    def pair() -> tuple[State, State]:
        made = state(recipe)
        return made, kept(made)

    def pruned() -> State:
        made = state(recipe)
        for name, mask in kept(made).items():
            made[name].mul_(mask)
        return made

    model, mask, sparse = folder / "model.pt", folder / "mask.pt", folder / "sparse"
    return {
        "nothing": (lambda: None, lambda _: None),
        "write checkpoint": (lambda: state(recipe), lambda made: checkpoints.save({"model": made}, model)),
        "read checkpoint": (lambda: None, lambda _: checkpoints.read(model)),
        **{
            f"masks, {scheme}": (
                lambda: state(recipe),
                lambda made, scheme=scheme: masks(prunable(made, "in"), scheme, PERCENT),
            )
            for scheme in SCHEMES
        },
        "write masks": (lambda: kept(state(recipe)), lambda made: checkpoints.save_masks(made, mask)),
        "read masks": (lambda: None, lambda _: checkpoints.read_masks(mask)),
        "mask a model": (pair, lambda both: checkpoints.masked(*both)),
        "prune (read, masks, write)": (
            lambda: None,
            lambda _: checkpoints.save_masks(
                masks(prunable(checkpoints.read(model)["model"], "in"), "global", PERCENT), mask
            ),
        ),
        "count and size": (pruned, size.sizes),
        "store sparse": (pruned, lambda made: size.store_sparse(made, sparse)),
        "load sparse": (lambda: None, lambda _: size.load_sparse(sparse)),
        "analyse weights": (lambda: kept(state(recipe)), _analyse),
    }


def main() -> None:
    parser = command_line(__doc__.splitlines()[0], rounds=1)
    parser.add_argument("--recipe", choices=SHAPES, default="base")
    parser.add_argument("--only", nargs="+", help="operations by name")
    parser.add_argument("--measure", nargs=2, metavar=("OPERATION", "FOLDER"), help=argparse.SUPPRESS)
    options = parse(
        parser, {"recipe": "tiny", "only": ["write checkpoint", "prune (read, masks, write)", "read masks"]}
    )
    if options.measure:
        name, folder = options.measure
        print(json.dumps(measure(*operations(Path(folder), options.recipe)[name])))
        return
    parameters = sum(torch.Size(shape).numel() for shape in SHAPES[options.recipe]().values())
    size_of_model = 4 * parameters
    print(
        f"{options.recipe}: {parameters / 1e6:.1f}M parameters, {size_of_model / 1e6:.0f} MB; {PERCENT} % "
        "pruned",
        flush=True,
    )
    command = [__file__, "--recipe", options.recipe]
    names = options.only or operations(Path(), options.recipe)
    ratios = in_processes(command, names, options.rounds, size_of_model)
    publish(ratios, options.json)


if __name__ == "__main__":
    main()
