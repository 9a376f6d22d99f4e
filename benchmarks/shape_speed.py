"""Time saved by removing widths: shapes of Behnke & Heafield (2021) with random weights, on one core.

    python benchmarks/shape_speed.py [--search 1 4:50] [--types 8000] [--rounds 5] [--decoder-self
    attention|ssru] [--repeat 3]

Both fast engines are measured by the protocol of the workflow's own speed tables
(nmtprune.speed.protocol): one process for each model, one thread, pinned, alternating, batches of 32
sentences sorted by length. Sentences consist of random pieces with the frequencies of natural language
and Multi30k's lengths. Random weights never end a sentence, so every model writes as many pieces as the
source has. A ratio is the median over rounds of two times of the same round in the same engine. The
machine should be idle; CPU time used by others is printed.

`--search` lists beam sizes; `4:50` is beam 4 with a lexical shortlist of 50 target pieces for each
source piece, with frequent pieces more likely. If pymarian is installed (NMTPRUNE_PYMARIAN_PYTHON names
a Python that has it), the dense 6-2 model with a standard decoder also runs in Marian, without
shortlists. Marian's limit counts the source's end of sentence, so it writes one more piece for each
sentence; its ratio is of pieces per second. `--repeat` runs the whole measurement that many times, and
ends with an error if medians differ by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from measuring import command_line, parse, publish, ratio

from nmtprune.experiment.search import Search
from nmtprune.speed import protocol, pymarian
from nmtprune.store.model import END, SPECIAL_SYMBOLS, Model
from nmtprune.translation.ctranslate2 import engine as ctranslate2_engine
from nmtprune.translation.onnx import engine as onnx_engine
from nmtprune.translation.shortlist import Shortlist

WIDTH, FFN, HEADS, HEAD_DIM = 256, 1536, 8, 32
# FFN widths of encoder and decoder. 6-6: table 3, lambda 0.2 (69 % removed). 6-2: table 1a, lambda 0.5, both
# decoder layers as wide as the paper's tied ones (68 % removed). 12-1: table 7, lambda 0.2 (63 % removed),
# with an unpruned decoder and the heads that its encoder keeps (48 % removed).
FFN_6_6 = ((259, 327, 298, 384, 392, 610), (121, 259, 129, 422, 876, 1536))
FFN_6_2 = ((113, 266, 351, 269, 309, 488), (1072, 1072))
FFN_12_1 = ((728, 927, 540, 415, 429, 382, 334, 297, 321, 319, 474, 635), (1536,))
HEADS_12_1 = (5, 3, 4, 4, 5, 4, 4, 3, 3, 3, 4, 4)
TOLERANCE = 0.05  # largest relative difference between medians of repeated measurements
BATCH = 32  # sentences in a batch
ALWAYS = 100  # number of most frequent pieces in the shortlist of every batch

ENGINES = {"ctranslate2": ctranslate2_engine, "onnx": onnx_engine}

Layer = tuple[int, int]  # FFN width, heads
Saved = tuple[str, str, str, Path]  # shape, engine, precision, files


def layers(widths: Sequence[int], heads: Sequence[int] | None = None) -> list[Layer]:
    """Layers with these FFN widths, and these heads or all."""
    return list(zip(widths, heads or [HEADS] * len(widths), strict=True))


def dense(count: int) -> list[Layer]:
    """The layers of a dense model."""
    return layers([FFN] * count)


# Encoder, decoder, and name of the shape to compare with.
SHAPES: dict[str, tuple[list[Layer], list[Layer], str]] = {
    "6-6": (dense(6), dense(6), "6-6"),
    "6-6, 2/3 of the FFN removed": (*map(layers, FFN_6_6), "6-6"),
    "6-2": (dense(6), dense(2), "6-2"),
    "6-2, 2/3 of the FFN removed": (*map(layers, FFN_6_2), "6-2"),
    "12-1": (dense(12), dense(1), "12-1"),
    "12-1, heads and FFN removed": (layers(FFN_12_1[0], HEADS_12_1), layers(FFN_12_1[1]), "12-1"),
}


def random_model(
    encoder: list[Layer], decoder: list[Layer], types: int, decoder_self: str, seed: int = 1
) -> Model:
    """A post-norm Transformer of this shape with tied embeddings.

    The embedding of the end of sentence is zero, so that it is never the best piece and every hypothesis
    is as long as its limit.
    """
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
    state |= dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"),
        embeddings,
    )
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


@dataclass(frozen=True)
class Decoding:
    """A beam size, and optionally the number of candidates of a source piece in the shortlist."""

    beam: int
    candidates: int | None = None

    @classmethod
    def read(cls, text: str) -> Decoding:
        """Read `1` or `4:50`; raises ArgumentTypeError."""
        beam, colon, candidates = text.partition(":")
        if (
            not beam.isdigit()
            or (colon and not candidates.isdigit())
            or 0 in (int(beam), int(candidates or 1))
        ):
            raise argparse.ArgumentTypeError(
                f"`{text}` is neither a beam size (4) nor one with the size of a shortlist (4:50)"
            )
        return cls(int(beam), int(candidates) if candidates else None)

    def __str__(self) -> str:
        return f"beam {self.beam}" + (f", shortlist {self.candidates}" if self.candidates else "")

    @property
    def search(self) -> dict[str, Any]:
        return asdict(Search(beam=self.beam, length_penalty=1.0, max_len_a=1.0, max_len_b=-1))


def frequencies(types: int) -> numpy.ndarray:
    """Relative frequencies of pieces [types - special symbols], as of words in natural language."""
    weights = 1 / (numpy.arange(types - len(SPECIAL_SYMBOLS)) + 10)
    return weights / weights.sum()


def random_sentences(count: int, dictionary: list[str]) -> list[list[str]]:
    """Sentences of random pieces with lengths like those of Multi30k's test set.

    Lengths are lognormal with a median of 14 pieces.
    """
    generator = random.Random(1)
    lengths = (round(min(60, max(4, generator.lognormvariate(math.log(14), 0.35)))) for _ in range(count))
    weights = frequencies(len(dictionary)).tolist()
    return [generator.choices(dictionary[len(SPECIAL_SYMBOLS) :], weights, k=length) for length in lengths]


def random_shortlist(dictionary: list[str], candidates: int) -> Shortlist:
    """A shortlist with `candidates` random target pieces for each source piece, frequent ones more likely.

    The ALWAYS most frequent pieces are in every batch.
    """
    generator, special, types = numpy.random.default_rng(1), len(SPECIAL_SYMBOLS), len(dictionary)
    candidates, weights = min(candidates, types - special), frequencies(types)
    drawn = [
        special + generator.choice(types - special, candidates, replace=False, p=weights)
        for _ in range(types - special)
    ]
    starts = numpy.concatenate(
        [numpy.zeros(special, dtype=numpy.int64), candidates * numpy.arange(types - special + 1)]
    )
    return Shortlist(
        numpy.array(dictionary),
        numpy.array(dictionary),
        starts,
        numpy.concatenate(drawn),
        numpy.arange(min(types, special + ALWAYS)),
    )


class Bench:
    """Common parts of all measurements: a folder, sentences, a core, and the saved engines of each shape."""

    def __init__(self, folder: Path, options: argparse.Namespace, core: int | None) -> None:
        self.folder, self.options, self.core = folder, options, core
        self.dictionary = random_model([], [], options.types, options.decoder_self).source_dictionary
        self.batches = folder / "batches.json"
        sources = random_sentences(options.sentences, self.dictionary)
        chosen = protocol.write_batches(sources, self.batches)
        # words and pieces are the same here
        self.sizes = {
            self.batches: {
                size: (len(each), sum(len(sources[index]) for index in each)) for size, each in chosen.items()
            }
        }
        self.families = self._save_shapes()
        self.peer = self._save_peer()

    def _save_shapes(self) -> list[list[Saved]]:
        """Name, engine, precision and files of each case, grouped into families.

        The cases of a family share an anchor, the dense model in float32.
        """
        families: dict[str, list[Saved]] = {}
        for name in self.options.shapes:
            encoder, decoder, of = SHAPES[name]
            model = random_model(encoder, decoder, self.options.types, self.options.decoder_self)
            for engine, module in ENGINES.items():
                if reason := module.supports(model):
                    print(f"{name} is not measured in {engine}: {reason}")
                    continue
                for precision in ("float32", "int8"):
                    files = self.folder / f"{name} {engine} {precision}".replace("/", " of ")
                    files.mkdir()
                    module.save(model, files, precision)
                    families.setdefault(of, []).append((name, engine, precision, files))
        return list(families.values())

    def _save_peer(self) -> list[Saved]:
        """The dense 6-2 model with a standard decoder, for pymarian and our engines.

        Empty if pymarian is not installed, which is printed.
        """
        if reason := pymarian.missing():
            print(f"pymarian is not measured: {reason}")
            return []
        model = random_model(*SHAPES["6-2"][:2], self.options.types, "attention")
        saved = []
        for engine, module in {pymarian.NAME: pymarian, **ENGINES}.items():
            files = self.folder / f"peer {engine}"
            files.mkdir()
            module.save(model, files)
            saved.append(("6-2, standard decoder", engine, "float32", files))
        return saved

    def measure(self, saved: Sequence[Saved], decoding: Decoding) -> dict[protocol.Case, protocol.Measured]:
        """Measure saved models in turns with this decoding."""
        shortlist = None
        if decoding.candidates:
            shortlist = self.folder / f"shortlist-{decoding.candidates}.npz"
            if not shortlist.exists():
                made = random_shortlist(self.dictionary, decoding.candidates)
                made.save(shortlist)
                batches = json.loads(self.batches.read_text(encoding="utf-8"))[str(BATCH)]
                candidates = statistics.mean(len(made.candidates(batch)) for batch in batches)
                print(
                    f"{decoding}: {candidates:.0f} of {len(self.dictionary)} types are candidates of a "
                    "batch, on average",
                    flush=True,
                )
        cases = []
        for name, engine, precision, files in saved:
            python = pymarian.interpreter() if engine == pymarian.NAME else sys.executable
            cases.append(
                protocol.Case(
                    name, engine, files, self.batches, decoding.search, precision, shortlist, python
                )
            )
        return protocol.measure(
            cases,
            lambda case: protocol.Worker(case, self.core, self.folder / "job.json"),
            self.options.rounds,
            (BATCH,),
        )

    def shapes(self, decoding: Decoding) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
        """The speed-up of each shape over the dense one, and median seconds by case.

        The dense one is measured in float32 in the same engine.
        """
        ratios, medians = {}, {}
        for family in self.families:
            measured = self.measure(family, decoding)
            medians |= self._report(measured, decoding)
            cases = list(measured)
            for case in cases:
                anchor = protocol.anchor_of(case, cases)
                if anchor and anchor != case:
                    name = f"{case.chain}, {case.engine} {case.precision} over dense float32, {decoding}"
                    rates = {
                        "dense, pieces/s": pieces_per_second(measured[anchor]),
                        "pieces/s": pieces_per_second(measured[case]),
                    }
                    ratios[name] = ratio(protocol.speed_ups(measured[case], measured[anchor], BATCH), **rates)
        return ratios, medians

    def peers(self, decoding: Decoding) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
        """The ratio of our engines' pieces per second to pymarian's, and median seconds by case.

        Ratios are of the same round.
        """
        if not self.peer or decoding.candidates:
            return {}, {}
        measured = self.measure(self.peer, decoding)
        medians = self._report(measured, decoding)
        peer, *ours = measured
        ratios = {}
        for case in ours:
            pairs = [
                (run, measured[peer].runs[BATCH][number])
                for number, run in measured[case].runs[BATCH].items()
            ]
            rounds = [
                run.target_pieces / run.seconds / (other.target_pieces / other.seconds)
                for run, other in pairs
            ]
            rates = {
                "pymarian, pieces/s": pieces_per_second(measured[peer]),
                "pieces/s": pieces_per_second(measured[case]),
            }
            ratios[f"6-2, {case.engine} float32 over pymarian float32, {decoding}"] = ratio(rounds, **rates)
        return ratios, medians

    def _report(
        self, measured: Mapping[protocol.Case, protocol.Measured], decoding: Decoding
    ) -> dict[str, float]:
        """Print a line for each case, and return median seconds by name."""
        medians = {}
        for case, row in protocol.rows(measured, self.sizes, self.core):
            name = f"{case.chain}, {case.engine} {case.precision}, {decoding}"
            medians[name] = row["seconds"]
            print(
                f"{name:70} {row['seconds']:7.3f} s ({row['seconds_low']:.3f} to {row['seconds_high']:.3f}), "
                f"CPU {row['cpu_seconds']:.3f} s, {row['target_pieces'] / row['seconds']:7.0f} pieces/s, "
                f"load {row['load_seconds']:.2f} s, "
                f"memory {(row['peak_memory'] or math.nan) / 2**20:.0f} MB, "
                f"disk {row['size_on_disk'] / 2**20:.1f} MB, others {row['others_cpu']:.2f} cores",
                flush=True,
            )
        return medians


def pieces_per_second(measured: protocol.Measured) -> str:
    """The median over rounds, as text for a column of the table."""
    return (
        f"{statistics.median(run.target_pieces / run.seconds for run in measured.runs[BATCH].values()):,.0f}"
    )


def spread(repeated: list[dict[str, float]]) -> float:
    """The largest relative difference between medians of the same case."""
    return max(
        max(times) / min(times) - 1
        for times in ([medians[name] for medians in repeated] for name in repeated[0])
    )


def main() -> None:
    parser = command_line(__doc__.splitlines()[0], rounds=5)
    decodings = [Decoding(1), Decoding(4, 50)]
    parser.add_argument(
        "--search",
        nargs="+",
        type=Decoding.read,
        default=decodings,
        help="beam sizes, or BEAM:SHORTLIST; default: 1 4:50",
    )
    parser.add_argument("--types", type=int, default=8000, help="size of the vocabulary; 32000 in the paper")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--decoder-self", choices=("attention", "ssru"), default="attention")
    parser.add_argument(
        "--shapes",
        nargs="*",
        choices=SHAPES,
        default=list(SHAPES),
        help="families begin with their dense one",
    )
    parser.add_argument("--repeat", type=int, default=1)
    tiny = {"types": 200, "sentences": 4, "rounds": 1, "shapes": ["6-2"]}
    options = parse(parser, tiny)

    core = protocol.idlest_core()
    print(
        f"{protocol.cpu_model()}, core {core}; {options.types} types, decoder {options.decoder_self}",
        flush=True,
    )
    repeated: list[dict[str, float]] = []
    ratios: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options, core)
        for _ in range(options.repeat):
            medians: dict[str, float] = {}
            for decoding in options.search:
                for measure in (bench.shapes, bench.peers):
                    measured, seconds = measure(decoding)
                    medians |= seconds
                    for name, values in measured.items():  # rounds of all repetitions together
                        earlier = ratios.get(name, {"rounds": []})["rounds"]
                        ratios[name] = ratio([*earlier, *values["rounds"]], **values["more"])
            repeated.append(medians)
    publish(ratios, options.json)
    if options.repeat > 1:
        print(
            f"largest difference between medians of {options.repeat} measurements: "
            f"{100 * spread(repeated):.1f} %"
        )
        if spread(repeated) > TOLERANCE:
            sys.exit(f"they differ by more than {100 * TOLERANCE:.0f} %: was the machine idle?")


if __name__ == "__main__":
    main()
