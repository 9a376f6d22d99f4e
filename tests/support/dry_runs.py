"""Dry runs of Snakemake, and runs that look finished though nothing was run."""

import re
import shutil

from support.workplace import MICRO

from nmtprune.experiment.run import Run


def jobs_of(output):
    """Jobs by rule from the table that Snakemake prints."""
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+) *$", table, re.MULTILINE)}


def dry_run(workplace, *arguments):
    """Jobs by rule in a dry run."""
    done = workplace.snakemake("-n", "--quiet", "rules", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return jobs_of(done.stdout + done.stderr)


def finish(workplace, **settings):
    """Create all files of a run and make them known to Snakemake without running anything.

    The own folder may be edited afterwards.
    """
    shutil.copytree(MICRO, workplace / "own")
    workplace.configure(own="own", **settings)
    with workplace.inside():
        run = Run(workplace.config)
        wanted = {str(file) for file in run.outputs} | {f"results/{run.name}/complete"}
        for each in run.chains:
            wanted.add(f"results/models/{each}/scores.csv")
            for ancestor in each.ancestors():
                wanted.add(f"{run.config.data_folder(ancestor)}/manifest.json")
                wanted.add(f"results/data/{ancestor.task}/text/manifest.json")
                names = {"train": ["model.pt", "last.pt", "initial.pt", "history.csv"], "prune": ["mask.pt"]}
                names = names.get(ancestor.last.kind.name, ["model.pt", "last.pt", "history.csv"])
                wanted |= {f"results/models/{ancestor}/{name}" for name in ("manifest.json", *names)}
    for file in wanted:
        (workplace / file).parent.mkdir(parents=True, exist_ok=True)
        (workplace / file).write_text("{}")
    done = workplace.snakemake("--cores", "1", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr[-3000:]
    assert dry_run(workplace) == {}
