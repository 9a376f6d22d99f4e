"""The repository, a micro task and recipe, and workplaces to run them in."""

import contextlib
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds that only a hang can take, however busy the machine is
MICRO = REPOSITORY / "tests" / "micro"
SETTINGS = {"preset": "micro", "own": str(MICRO), "device": "cpu"}


def multiplies_bytes_exactly():
    """Whether the processor sums products of bytes in 32 bits (VNNI).

    Older processors saturate at 16 bits, so that 8-bit results are coarser.
    """
    about = Path("/proc/cpuinfo")
    return not about.exists() or "vnni" in about.read_text()


needs_exact_bytes = pytest.mark.skipif(
    not multiplies_bytes_exactly(), reason="this processor has no VNNI: its sums of bytes saturate"
)


@contextlib.contextmanager
def reading_what_free_keeps(chain):
    """Context for making a chain's last step, which asserts that it reads only weights that `free` keeps.

    These are the weights that its kind declares.
    """
    from nmtprune.experiment import paths
    from nmtprune.store import checkpoints

    read, plain = set(), checkpoints.read

    def recorded(path, **how):
        read.add(path)
        return plain(path, **how)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoints, "read", recorded)
        yield
    made = chain.of_its_job()
    others = {file for file in read if file.name != paths.MASK and "state" not in file.parts}
    assert others <= set().union(*(each.last.kind.reads(each) for each in made)), (
        f"{chain} reads what `free` may remove"
    )


class Workplace:
    """A folder to run in, with its config.yaml and the results of the workflow."""

    def __init__(self, folder, **settings):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(**settings)

    def configure(self, **settings):
        (self.folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS | settings))

    def __truediv__(self, path):
        return self.folder / path

    def model(self, chain):
        return self / "results" / "models" / chain

    @property
    def config(self):
        from nmtprune.experiment import config

        return config.from_settings(yaml.safe_load((self / "config.yaml").read_text()))

    def inside(self):
        return contextlib.chdir(self.folder)

    def start(self, *command):
        """Start a command in a process group of its own, which can be killed as a whole."""
        path = os.pathsep.join([str(REPOSITORY / "workflow"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *command):
        process = self.start(*command)
        out, err = process.communicate(timeout=6 * PATIENCE)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def nmtprune(self, *arguments):
        return self.run(sys.executable, "-m", "nmtprune", *arguments)

    def snakemake(self, *arguments):
        return self.run(*self.snakemake_command(*arguments))

    def snakemake_command(self, *arguments):
        given = [
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--workflow-profile",
            str(REPOSITORY / "profiles" / "default"),
        ]
        return [sys.executable, "-m", "snakemake", *given, *arguments]

    def finish(self):
        """Run the workflow to its end."""
        done = self.snakemake("--cores", "2")
        assert done.returncode == 0, done.stderr[-5000:]
        return done

    def table(self, name):
        """The rows of a table of the micro preset."""
        with open(self / f"results/micro/wang2020/{name}.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def tensors(self):
        """All weights and masks of a finished run, by file and name."""
        from nmtprune.store import checkpoints

        tensors = {}
        for file in sorted((self / "results/models").rglob("*.pt")):
            if "state" in file.parts:
                continue
            if file.name == "mask.pt":
                named = checkpoints.read_masks(file)
            else:
                named = {
                    name: tensor
                    for name, tensor in checkpoints.read(file)["model"].items()
                    if "_float_tensor" not in name
                }
            tensors |= {(str(file.relative_to(self.folder)), name): tensor for name, tensor in named.items()}
        return tensors

    def make(self, *chains):
        """Make models in this process, with every ancestor that does not exist yet."""
        from nmtprune.experiment import chain, paths
        from nmtprune.steps import run

        with self.inside():
            config = self.config
            for text in chains:
                for ancestor in reversed(list(chain.parse(text).ancestors())):
                    if not paths.manifest(ancestor).exists():
                        with reading_what_free_keeps(ancestor):
                            run.run(config, ancestor)
        return self.model(chains[-1])

    def make_data(self, task="micro", recipe="micro"):
        from nmtprune.data.corpus import make_corpus
        from nmtprune.experiment import paths

        with self.inside():
            make_corpus(self.config.task(task), paths.text(task), self.config.data_dir, paths.DOWNLOADS)
        self.make_encoded(task, recipe)

    def make_encoded(self, task="micro", recipe="micro"):
        """Make subwords and binarised data of an existing text."""
        from nmtprune.data.encoded import make_data
        from nmtprune.experiment import chain, paths

        with self.inside():
            config = self.config
            any_chain = chain.parse(f"{task}/{recipe}/s1/train")
            make_data(
                config.task(task), config.subwords(any_chain), paths.text(task), config.data_folder(any_chain)
            )
