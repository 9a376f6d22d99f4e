"""Seconds and memory of each step on a Marian model of the shape of OPUS-MT, with random weights.

    python benchmarks/marian_scale.py [--shape opus|tiny] [--only OPERATION ...] [--rounds 1]

`opus`: 6+6 layers, d 512, 8 heads, feed-forward layers of 2048 units, and one vocabulary of 58,101 pieces
(74M parameters), of which a quarter of the feed-forward units is dead. Each operation runs in its own process
and begins with the files of earlier ones. Memory is the peak resident set of that process (Linux), in
multiples of the model's bytes in single precision; PyTorch and fairseq are in it (`nothing`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from measuring import command_line, in_processes, measure, parse, publish
from safetensors.torch import save_file

from nmtprune.experiment.imports import Import
from nmtprune.export import marian as export
from nmtprune.fairseq_bridge import imports
from nmtprune.foundation.files import write_json, write_lines
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.schemes import masks
from nmtprune.pruning.slicing import dead_units, head_size
from nmtprune.steps.slice import ALL, Judged, without_dead
from nmtprune.store import checkpoints, marian, marian_settings
from nmtprune.store.model import Model, from_checkpoint
from nmtprune.translation.opening import FAST, PRECISIONS, module_of

PERCENT, LANGUAGES = "60", ("en", "de")
DEAD = 4  # every so many feed-forward units are dead
SHAPES = {"opus": (58_101, 512, 6, 2048, 8), "tiny": (500, 32, 2, 64, 4)}
ACTIVATION = "swish"


def shape_of(name: str) -> marian_settings.Shape:
    """The settings of a model."""
    types, d, layers, ffn, heads = SHAPES[name]
    return marian_settings.Shape(
        vocab_size=types,
        decoder_vocab_size=types,
        d_model=d,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=ffn,
        decoder_ffn_dim=ffn,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        max_position_embeddings=512,
        eos_token_id=0,
        pad_token_id=types - 1,
        decoder_start_token_id=types - 1,
        activation_function=ACTIVATION,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        dropout=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
    )


def stored(shape: marian_settings.Shape) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by name, tied ones once."""
    tied = {each for names in marian.tied(shape) for each in names[1:]}
    return {key: sizes for key, sizes in marian.shapes(shape).items() if key not in tied}


def write(name: str, folder: Path) -> None:
    """Write a random model in the format of transformers, without subwords."""
    shape, generator = shape_of(name), torch.Generator().manual_seed(1)
    tensors = {
        key: torch.randn(sizes, generator=generator).mul_(0.05) for key, sizes in stored(shape).items()
    }
    for key, tensor in tensors.items():
        if ".fc1." in key:
            tensor[::DEAD] = 0
        elif key.endswith("fc2.weight"):
            tensor[:, ::DEAD] = 0
    pieces = {f"▁piece{number}": number for number in range(2, shape.pad_token_id)}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", {"model_type": "marian", **vars(shape)})
    write_json(folder / "vocab.json", {"</s>": 0, "<unk>": 1, **pieces, "<pad>": shape.pad_token_id})


def operations(folder: Path, name: str) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """By name, a function that makes an operation's input outside the clock, and the operation.

    Files are written by operations before those that read them.
    """
    theirs, data, model, mask, sliced = (
        folder / each for each in ("theirs", "bin", "model.pt", "mask.pt", "sliced.pt")
    )

    def prepare() -> None:
        """Write the model, and the dictionaries that binarised data has."""
        write(name, theirs)
        data.mkdir()
        source, target = marian_settings.read_vocabularies(theirs, shape_of(name))
        for language, numbers in zip(LANGUAGES, (source, target), strict=True):
            write_lines(
                data / f"dict.{language}.txt", [f"{piece} 1" for piece in marian_settings.pieces(numbers)]
            )

    def bring(_: None) -> None:
        given = Import.over({"marian": str(theirs)})
        saved = imports.read_import(given)
        checkpoints.save(imports.convert(saved, given.weights, data, *LANGUAGES), model)

    def prune(_: None) -> None:
        weights = checkpoints.read(model)["model"]
        checkpoints.save_masks(masks(prunable(weights, "in"), "global", PERCENT), mask)

    def slice_away(_: None) -> None:
        checkpoint = checkpoints.read(model)
        options = checkpoints.options_by_name(checkpoint["cfg"]["model"])
        head_dim = head_size(options)
        judged = Judged(*ALL, head_dim, dead_units(checkpoint["model"], *ALL, head_dim))
        weights, options, _ = without_dead(checkpoint["model"], options, judged)
        checkpoint["model"], checkpoint["cfg"]["model"] = weights, options
        checkpoints.save(checkpoint, sliced)

    def pruned() -> Model:
        whole = from_checkpoint(model, data)
        return replace(whole, weights=checkpoints.masked(whole.weights, checkpoints.read_masks(mask)))

    def to_engine(engine: str, precision: str) -> Callable[[None], None]:
        return lambda _: module_of(engine).save(
            from_checkpoint(sliced, data), folder / f"{engine}-{precision}", precision
        )

    return {
        "nothing": (prepare, lambda _: None),
        "import (read, convert, write)": (lambda: None, bring),
        "prune (read, masks, write)": (lambda: None, prune),
        "slice (read, fold, write)": (lambda: None, slice_away),
        "write back, pruned": (lambda: None, lambda _: export.write(pruned(), new(folder / "back"))),
        **{
            f"export, {engine}, {precision}": (lambda: None, to_engine(engine, precision))
            for engine in FAST
            for precision in PRECISIONS
        },
    }


def new(folder: Path) -> Path:
    """A folder that is made."""
    folder.mkdir()
    return folder


def main() -> None:
    parser = command_line(__doc__.splitlines()[0], rounds=1)
    parser.add_argument("--shape", choices=SHAPES, default="opus")
    parser.add_argument("--only", nargs="+", help="operations by name")
    parser.add_argument("--measure", nargs=2, metavar=("OPERATION", "FOLDER"), help=argparse.SUPPRESS)
    options = parse(parser, {"shape": "tiny"})
    if options.measure:
        name, folder = options.measure
        print(json.dumps(measure(*operations(Path(folder), options.shape)[name])))
        return
    shapes = stored(shape_of(options.shape)).values()
    parameters = sum(torch.Size(sizes).numel() for sizes in shapes)
    size_of_model = 4 * parameters
    print(
        f"{options.shape}: {parameters / 1e6:.1f}M parameters, {size_of_model / 1e6:.0f} MB; {PERCENT} % "
        f"pruned; 1 in {DEAD} feed-forward units sliced away",
        flush=True,
    )
    command = [__file__, "--shape", options.shape]
    names = options.only or operations(Path(), options.shape)
    publish(in_processes(command, names, options.rounds, size_of_model), options.json)


if __name__ == "__main__":
    main()
