"""Ablated variants of a model that are evaluated in a minute, by nmtprune and by stock fairseq-generate.

    python benchmarks/ablation_speed.py [--checkpoint MODEL.pt --data results/data/TASK/SUBWORDS] [--rounds 5]
    [--beam 5] [--variants 31]

A variant is the model with one component ablated (Wang and Tu 2020, equation 1), evaluated on the test
set. fairseq needs one process of fairseq-generate for each variant, and a second one (--score-reference)
for its likelihoods. nmtprune evaluates all `--variants`, the whole model first, in one process that
loads the model once. Like is compared with like: BLEU only with the first process, BLEU and perplexity
with both.

The ablated checkpoints are written outside fairseq's clock. All processes run on one thread; times are
CPU seconds, rounds are interleaved, and the ratio of a round compares neighbours. Without a checkpoint,
a small 6+6 model is first trained on the toy task for some minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measuring import parse, publish, ratio
from scoring_speed import LAUNCH, TINY, Job, job_of, options_of_one_model, run_python

from nmtprune.pruning.components import ablation, components_of
from nmtprune.store import checkpoints

ABLATE = """
import sys
from dataclasses import replace
from pathlib import Path
from nmtprune.store import checkpoints
from nmtprune.data.subwords import Subwords
from nmtprune.pruning.components import ablation, components_of
from nmtprune.experiment.search import Search
from nmtprune.store.model import from_checkpoint
from nmtprune.scoring.scorer import Scorer, Translating
checkpoint, data, source, reference, beam, count, what = sys.argv[1:]
subwords = Subwords.load(Path(data))
how = Translating(search=Search(beam=int(beam)))
scorer = Scorer({"set": (source, reference)}, subwords, subwords.languages[1], how)
model = from_checkpoint(checkpoint, Path(data) / "bin")
for ablated in [[], *([each] for each in components_of(model.weights))][: int(count)]:
    variant = replace(model, weights=checkpoints.masked(model.weights, ablation(model.weights, ablated)))
    print("BLEU", scorer.bleu(variant) if what == "bleu" else scorer.measure(variant, "set").bleu)
"""


def run_ours(job: Job, beam: int, variants: int, what: str) -> tuple[float, float]:
    """CPU seconds for each variant, of one process for all of them, and BLEU of the whole model.

    `what`: `bleu`, or `both` for BLEU and perplexity.
    """
    cpu, printed = run_python(
        ABLATE, job.checkpoint, job.data, job.text(0), job.text(1), beam, variants, what
    )
    return cpu / variants, float(printed.split()[1])


def seconds_of_fairseq(job: Job, beam: int, folder: Path, variant: int) -> tuple[float, float]:
    """CPU seconds of one process of fairseq-generate for a variant, and of another for its likelihoods."""
    checkpoint = checkpoints.read(job.checkpoint)
    components = components_of(checkpoint["model"])
    masks = ablation(checkpoint["model"], [components[variant % len(components)]])
    checkpoint["model"] = checkpoints.masked(checkpoint["model"], masks)
    checkpoints.save(checkpoint, folder / "ablated.pt")
    options = [
        "--path",
        folder / "ablated.pt",
        "--gen-subset",
        job.test_set,
        "--beam",
        beam,
        "--cpu",
        "--num-workers",
        0,
    ]
    generate = LAUNCH.format(tool="generate"), job.data / "bin", *options
    return run_python(*generate)[0], run_python(*generate, "--score-reference")[0]


def main() -> None:
    parser = options_of_one_model(__doc__.splitlines()[0], updates=1500)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--variants", type=int, default=31)
    options = parse(parser, TINY | {"variants": 2})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(options, folder, layers=6, width=64)
        variants = min(options.variants, 1 + len(components_of(checkpoints.read(job.checkpoint)["model"])))
        rounds: dict[str, list[float]] = {"BLEU": [], "BLEU and perplexity": []}
        for number in range(1, options.rounds + 1):
            hypotheses, likelihoods = seconds_of_fairseq(job, options.beam, folder, number)
            of_fairseq = {"BLEU": hypotheses, "BLEU and perplexity": hypotheses + likelihoods}
            for (what, ratios), measure in zip(rounds.items(), ("bleu", "both"), strict=True):
                (ours, bleu), theirs = run_ours(job, options.beam, variants, measure), of_fairseq[what]
                ratios.append(theirs / ours)
                print(
                    f"round {number}, {what}: {ours:.2f} s a variant ({variants} of them), fairseq-generate "
                    f"{theirs:.2f} s",
                    flush=True,
                )
    more = {"variants": variants, "BLEU of the whole model": f"{bleu:.1f}"}
    publish(
        {f"variants a minute by {what}": ratio(ratios, **more) for what, ratios in rounds.items()},
        options.json,
    )


if __name__ == "__main__":
    main()
