"""What a removed width is worth in time: the shapes of Behnke & Heafield (2021) with random weights, in both fast engines, on one core.

    python benchmarks/shape_speed.py [--beam 4] [--types 8000] [--rounds 5] [--decoder-self attention|ssru] [--pymarian] [--repeat 3]

Measured by the protocol of the workflow's own speed tables (nmtprune.scoring.speed): a process a model, one thread, pinned, in turns,
batches of 32 sentences sorted by length. Sentences are random pieces with Multi30k's lengths. Random weights never end a sentence, so
that every model makes as many pieces as the source has. A ratio is the median over rounds of two times of the same round, in the same
engine; the machine should be idle, and CPU that others used is printed.

--pymarian also runs the dense 6-2 model with a standard decoder in Marian (NMTPRUNE_PYMARIAN_PYTHON names a Python that has pymarian).
Marian's limit counts the source's end of sentence: it makes a piece more a sentence, so its ratio is of pieces per second.
--repeat runs the whole measurement so many times and ends with an error where medians differ by more than 5 % of each other.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1] / "workflow"
sys.path.insert(0, str(PACKAGE))

from nmtprune.scoring import ctranslate2_engine, onnx_engine, pymarian_peer, speed  # noqa: E402
from nmtprune.scoring.engine import Search  # noqa: E402
from nmtprune.scoring.model import END, SPECIAL_SYMBOLS, Model  # noqa: E402

WIDTH, FFN, HEADS, HEAD_DIM = 256, 1536, 8, 32
# FFN widths of encoder and decoder. 6-6: table 3, lambda 0.2 (69 % removed). 6-2: table 1a, lambda 0.5, both decoder layers as wide as its
# tied ones (68 %). 12-1: table 7, lambda 0.2 (63 %), whose decoder is not pruned, with the heads that its encoder keeps (48 % removed).
FFN_6_6 = ((259, 327, 298, 384, 392, 610), (121, 259, 129, 422, 876, 1536))
FFN_6_2 = ((113, 266, 351, 269, 309, 488), (1072, 1072))
FFN_12_1 = ((728, 927, 540, 415, 429, 382, 334, 297, 321, 319, 474, 635), (1536,))
HEADS_12_1 = (5, 3, 4, 4, 5, 4, 4, 3, 3, 3, 4, 4)
TOLERANCE = 0.05  # between medians of repeated measurements

Layer = tuple[int, int]  # FFN width, heads


def layers(widths: Sequence[int], heads: Sequence[int] | None = None) -> list[Layer]:
    return list(zip(widths, heads or [HEADS] * len(widths), strict=True))


def dense(count: int) -> list[Layer]:
    return layers([FFN] * count)


# encoder, decoder, and the shape that it is compared with
SHAPES: dict[str, tuple[list[Layer], list[Layer], str]] = {
    "6-6": (dense(6), dense(6), "6-6"),
    "6-6, 2/3 of the FFN removed": (*map(layers, FFN_6_6), "6-6"),
    "6-2": (dense(6), dense(2), "6-2"),
    "6-2, 2/3 of the FFN removed": (*map(layers, FFN_6_2), "6-2"),
    "12-1": (dense(12), dense(1), "12-1"),
    "12-1, heads and FFN removed": (layers(FFN_12_1[0], HEADS_12_1), layers(FFN_12_1[1]), "12-1"),
}


def random_model(encoder: list[Layer], decoder: list[Layer], types: int, decoder_self: str, seed: int = 1) -> Model:
    """A post-norm Transformer of this shape with tied embeddings. The embedding of the end of sentence is zero, so that it is never
    the best piece: every hypothesis is as long as its limit."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) / math.sqrt(columns)
        state[f"{name}.bias"] = 0.1 * torch.randn(rows, generator=generator)

    def layer_norm(name: str) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(WIDTH), torch.zeros(WIDTH)

    def attention(name: str, heads: int) -> None:
        for projection in ("q_proj", "k_proj", "v_proj"):
            linear(f"{name}.{projection}", heads * HEAD_DIM, WIDTH)
        linear(f"{name}.out_proj", WIDTH, heads * HEAD_DIM)

    def ssru(name: str) -> None:
        linear(f"{name}.forget_proj", WIDTH, WIDTH)
        linear(f"{name}.candidate_proj", WIDTH, WIDTH)
        del state[f"{name}.candidate_proj.bias"]

    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        for index, (width, heads) in enumerate(layers):
            layer = f"{side}.layers.{index}"
            if side == "decoder" and decoder_self == "ssru":
                ssru(f"{layer}.ssru")
            else:
                attention(f"{layer}.self_attn", heads)
            layer_norm(f"{layer}.self_attn_layer_norm")
            if side == "decoder":
                attention(f"{layer}.encoder_attn", heads)
                layer_norm(f"{layer}.encoder_attn_layer_norm")
            linear(f"{layer}.fc1", width, WIDTH)
            linear(f"{layer}.fc2", WIDTH, width)
            layer_norm(f"{layer}.final_layer_norm")
    embeddings = torch.randn(types, WIDTH, generator=generator) / math.sqrt(WIDTH)
    embeddings[SPECIAL_SYMBOLS.index(END)] = 0
    state |= dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"), embeddings)
    options = {
        "arch": "nmtprune_transformer",
        "activation_fn": "relu",
        "encoder_embed_dim": WIDTH,
        "decoder_embed_dim": WIDTH,
        "encoder_layers": len(encoder),
        "decoder_layers": len(decoder),
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_embed_dim": FFN,
        "decoder_ffn_embed_dim": FFN,
        "head_dim": HEAD_DIM,
        "decoder_self": decoder_self,
        "share_all_embeddings": True,
    }
    dictionary = [*SPECIAL_SYMBOLS, *(f"piece{number}" for number in range(types - len(SPECIAL_SYMBOLS)))]
    return Model(state, options, dictionary, dictionary)


def random_sentences(count: int, dictionary: list[str]) -> list[list[str]]:
    """Sentences of random pieces, their lengths drawn as those of Multi30k's test set: lognormal, 14 pieces in the middle."""
    generator = random.Random(1)
    lengths = (round(min(60, max(4, generator.lognormvariate(math.log(14), 0.35)))) for _ in range(count))
    return [generator.choices(dictionary[len(SPECIAL_SYMBOLS) :], k=length) for length in lengths]


def cases_in(folder: Path, options: argparse.Namespace, batches: Path) -> list[list[speed.Case]]:
    """Cases, in families that share an anchor: the dense model in float32, the first of each."""
    search = asdict(Search(beam=options.beam, length_penalty=1.0, max_len_a=1.0, max_len_b=-1))
    families: dict[str, list[speed.Case]] = {}
    for name in options.shapes:
        encoder, decoder, of = SHAPES[name]
        model = random_model(encoder, decoder, options.types, options.decoder_self)
        for engine, module in (("ctranslate2", ctranslate2_engine), ("onnx", onnx_engine)):
            if reason := module.supports(model):
                print(f"{name} is not measured in {engine}: {reason}")
                continue
            for precision in ("float32", "int8"):
                files = folder / f"{name} {engine} {precision}".replace("/", " of ")
                files.mkdir()
                module.save(model, files, precision)
                families.setdefault(of, []).append(speed.Case(name, engine, files, batches, search, precision))
    return list(families.values())


def peer_cases(folder: Path, options: argparse.Namespace, batches: Path) -> list[speed.Case]:
    """The dense 6-2 model with a standard decoder: pymarian and our engines. None where pymarian is not installed, and that is said."""
    if reason := pymarian_peer.missing():
        print(f"pymarian is not measured: {reason}")
        return []
    search = asdict(Search(beam=options.beam, length_penalty=1.0, max_len_a=1.0, max_len_b=-1))
    model = random_model(*SHAPES["6-2"][:2], options.types, "attention")
    cases = []
    modules = {"pymarian": pymarian_peer, "ctranslate2": ctranslate2_engine, "onnx": onnx_engine}
    for engine, module in modules.items():
        files = folder / f"peer {engine}"
        files.mkdir()
        module.save(model, files)
        python = pymarian_peer.interpreter() if engine == "pymarian" else sys.executable
        cases.append(speed.Case("6-2, standard decoder", engine, files, batches, search, python=python))
    return cases


def measure(cases: list[speed.Case], core: int | None, folder: Path, rounds: int) -> dict[speed.Case, speed.Measured]:
    return speed.measure(cases, lambda case: speed.Worker(case, core, folder / "job.json"), rounds, (32,))


def report(
    found: Mapping[speed.Case, speed.Measured], sizes: Mapping[Path, Mapping[int, tuple[int, int]]], core: int | None
) -> dict[str, float]:
    """Print a line a case; return the median seconds by name."""
    medians = {}
    for case, row in speed.rows(found, sizes, core):
        name = f"{case.chain}, {case.engine} {case.precision}"
        medians[name] = row["seconds"]
        ratio = f"{row['speed_up']:.2f}x ({row['speed_up_low']:.2f}-{row['speed_up_high']:.2f})" if row["speed_up"] not in (None, 1) else ""
        print(
            f"{name:52} {row['seconds']:7.3f} s ({row['seconds_low']:.3f}-{row['seconds_high']:.3f}) {ratio:18} "
            f"CPU {row['cpu_seconds']:.3f} s, "
            f"{row['target_pieces'] / row['seconds']:7.0f} pieces/s, load {row['load_seconds']:.2f} s, "
            f"memory {(row['peak_memory'] or math.nan) / 2**20:.0f} MB, "
            f"disk {row['size_on_disk'] / 2**20:.1f} MB, others {row['others_cpu']:.2f} cores",
            flush=True,
        )
    return medians


def report_peer(found: Mapping[speed.Case, speed.Measured]) -> None:
    """Our engines' pieces per second over pymarian's, of the same round."""
    peer, *ours = found
    rate = {case: {number: run.target_pieces / run.seconds for number, run in found[case].runs[32].items()} for case in found}
    for case in ours:
        ratios = sorted(rate[case][number] / rate[peer][number] for number in rate[peer])
        print(f"{case.engine} float32 over pymarian float32: {ratios[len(ratios) // 2]:.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})")


def spread(repeated: list[dict[str, float]]) -> float:
    """The largest difference between medians of one case, as a share of the smallest."""
    return max(max(times) / min(times) - 1 for times in ([medians[name] for medians in repeated] for name in repeated[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--types", type=int, default=8000, help="of the vocabulary; the paper's is 32000")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=speed.ROUNDS)
    parser.add_argument("--decoder-self", choices=("attention", "ssru"), default="attention")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES), help="families begin with their dense one")
    parser.add_argument("--pymarian", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()

    core = speed.idlest_core()
    print(f"{speed.cpu_model()}, core {core}; beam {options.beam}, {options.types} types, decoder {options.decoder_self}", flush=True)
    repeated = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batches = folder / "batches.json"
        sources = random_sentences(options.sentences, random_model([], [], options.types, options.decoder_self).source_dictionary)
        chosen = speed.write_batches(sources, batches)
        # a word is a piece here
        sizes = {batches: {size: (len(indices), sum(len(sources[index]) for index in indices)) for size, indices in chosen.items()}}
        families, peer = cases_in(folder, options, batches), peer_cases(folder, options, batches) if options.pymarian else []
        for _ in range(options.repeat):
            medians: dict[str, float] = {}
            for cases in families:
                medians |= report(measure(cases, core, folder, options.rounds), sizes, core)
            if peer:
                found = measure(peer, core, folder, options.rounds)
                medians |= report(found, sizes, core)
                report_peer(found)
            repeated.append(medians)
    if options.repeat > 1:
        print(f"largest difference between medians of {options.repeat} measurements: {100 * spread(repeated):.1f} %")
        if spread(repeated) > TOLERANCE:
            sys.exit(f"they differ by more than {100 * TOLERANCE:.0f} %: was the machine idle?")


if __name__ == "__main__":
    main()
