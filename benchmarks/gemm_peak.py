"""Speed of one core in matrix products of small Transformers, in single precision and in bfloat16.

    python benchmarks/gemm_peak.py [--precision float32 bfloat16] [--rounds 5] [--seconds 0.3]

Shapes are those of training with 4,096 tokens in a batch: projections, both halves of the feed-forward
network, and the output projection. The peak of a precision is its fastest shape. Products are computed
by PyTorch on one thread; times are CPU seconds; precisions and shapes alternate. By default, bfloat16 is
left out if the processor only emulates it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from measuring import command_line, parse, publish, ratio

from nmtprune.fairseq_bridge.precision import multiplies_bfloat16

TOKENS = 4096
Shape = tuple[int, int, int]  # rows, inner dimension, columns
SHAPES: tuple[Shape, ...] = tuple(
    (TOKENS, inner, columns)
    for width in (128, 256)
    for inner, columns in ((width, width), (width, 4 * width), (4 * width, width), (width, 4000))
)
WARM_UP = 2  # products that are not timed


def gflops(shape: Shape, precision: str, seconds: float) -> float:
    """10^9 operations for each CPU second of a product [rows, inner] x [inner, columns].

    A multiply-accumulate counts as two operations. The product is repeated for about `seconds`.
    """
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(1)
    left, right = (
        torch.randn(size, generator=generator).to(getattr(torch, precision))
        for size in ((rows, inner), (columns, inner))
    )
    out = torch.empty(rows, columns, dtype=left.dtype)
    for _ in range(WARM_UP):
        torch.mm(left, right.T, out=out)
    count, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        torch.mm(left, right.T, out=out)
        count += 1
    return 2e-9 * rows * inner * columns * count / spent


def peak(precision: str, seconds: float, shapes: Sequence[Shape] = SHAPES) -> float:
    """GFLOP/s of the fastest shape."""
    return max(gflops(shape, precision, seconds) for shape in shapes)


def main() -> None:
    parser = command_line(__doc__.splitlines()[0], rounds=5)
    known = ["float32", "bfloat16"]
    parser.add_argument(
        "--precision", nargs="+", choices=known, default=known if multiplies_bfloat16("cpu") else known[:1]
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--rows", type=int, default=TOKENS, help="tokens in a batch")
    options = parse(parser, {"rounds": 1, "rows": 64, "seconds": 0.01, "precision": known})
    torch.set_num_threads(1)

    shapes = [(options.rows, *shape[1:]) for shape in SHAPES]
    measured: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.rounds):
        for shape in shapes:
            name = "{}x{} by {}x{}".format(*shape[:2], *shape[1:])
            for precision in options.precision:
                measured.setdefault(name, {}).setdefault(precision, []).append(
                    gflops(shape, precision, options.seconds)
                )
    medians = {
        name: {precision: statistics.median(rates) for precision, rates in rows.items()}
        for name, rows in measured.items()
    }
    peaks = {
        precision: max(rates[precision] for rates in medians.values()) for precision in options.precision
    }
    for name, rates in medians.items():
        print(f"{name}: {', '.join(f'{precision} {rate:.1f} GFLOP/s' for precision, rate in rates.items())}")
    print(f"peak: {', '.join(f'{precision} {rate:.1f} GFLOP/s' for precision, rate in peaks.items())}")
    ratios = {}
    if set(known) <= set(options.precision):
        for name, rates in measured.items():
            ratios[f"bfloat16 over float32, {name}"] = ratio(
                [half / single for single, half in zip(*(rates[each] for each in known), strict=True)]
            )
    publish(ratios, options.json, {"gflops": medians, "peak": peaks})


if __name__ == "__main__":
    main()
