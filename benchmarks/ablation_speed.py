"""How many ablated variants of a model nmtprune evaluates in a minute, against one process of stock fairseq-generate a variant.

    python benchmarks/ablation_speed.py [--checkpoint MODEL.pt --data results/data/TASK/SUBWORDS] [--rounds 3] [--beam 5]

A variant is the model with one component ablated (Wang and Tu 2020, equation 1), evaluated on 1,000 sentences. Ours is the whole
process: loading once, then for the whole model and each of its components hypotheses, BLEU and perplexity. fairseq-generate makes
hypotheses alone and needs a second process for likelihoods (--score-reference), so there are two ratios; the ablated checkpoints are
written outside its clock. Both run on one thread, rounds are interleaved, and a round's ratio compares neighbours. Without a checkpoint
a small 6+6 model is first trained on the generated task for some minutes.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from scoring_speed import LAUNCH, Job, job_of, read_options, run_python

from nmtprune import models
from nmtprune.pruning.components import ablation, components_of

ABLATE = """
import sys
from dataclasses import replace
from pathlib import Path
from nmtprune import models
from nmtprune.data.subwords import Subwords
from nmtprune.pruning.components import ablation, components_of
from nmtprune.scoring.engine import Search
from nmtprune.scoring.model import from_checkpoint
from nmtprune.scoring.score import Scorer
checkpoint, data, source, reference, beam = sys.argv[1:]
subwords = Subwords.load(Path(data))
scorer = Scorer({"set": (source, reference)}, subwords, subwords.languages[1], search=Search(beam=int(beam)))
model = from_checkpoint(checkpoint, Path(data) / "bin")
for ablated in ([], *([each] for each in components_of(model.state))):
    scorer.measure(replace(model, state=models.masked(model.state, ablation(model.state, ablated))), "set")
"""


def seconds_of_ours(job: Job, beam: int) -> float:
    """Wall seconds a variant: the whole process, over all its variants."""
    variants = 1 + len(components_of(models.read(job.checkpoint)["model"]))
    wall, *_ = run_python(ABLATE, job.checkpoint, job.data, job.text(0), job.text(1), beam)
    return wall / variants


def seconds_of_fairseq(job: Job, beam: int, folder: Path, variant: int) -> tuple[float, float]:
    """Wall seconds of one process of fairseq-generate for one variant, and of another for its likelihoods."""
    checkpoint = models.read(job.checkpoint)
    components = components_of(checkpoint["model"])
    masks = ablation(checkpoint["model"], [components[variant % len(components)]])
    checkpoint["model"] = models.masked(checkpoint["model"], masks)
    models.save(checkpoint, folder / "ablated.pt")
    options = ["--path", folder / "ablated.pt", "--gen-subset", job.test_set, "--beam", beam, "--cpu", "--num-workers", 0]
    generate = LAUNCH.format(tool="generate"), job.data / "bin", *options
    return run_python(*generate)[0], run_python(*generate, "--score-reference")[0]


def main() -> None:
    options = read_options(__doc__.splitlines()[0], beam=5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(options, folder, layers=6, width=64)
        rounds = []
        for number in range(options.rounds):
            rounds.append((seconds_of_fairseq(job, options.beam, folder, number), seconds_of_ours(job, options.beam)))
            (hypotheses, likelihoods), ours = rounds[-1]
            print(f"round {number + 1}: {ours:.1f} s a variant, fairseq-generate {hypotheses:.1f} s and {likelihoods:.1f} s", flush=True)
    for what, theirs in (("hypotheses alone", lambda times: times[0]), ("hypotheses and likelihoods", sum)):
        ratio = statistics.median(theirs(times) / ours for times, ours in rounds)
        print(f"{what}: nmtprune evaluates {ratio:.2f}x as many variants a minute (median of {options.rounds} rounds, one thread)")


if __name__ == "__main__":
    main()
