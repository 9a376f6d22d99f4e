"""Results of an earlier version can be opened, continued, rendered and exported.

Commit dfd2d07 made them (tests/golden/upgrade.tar.xz): trainings, masks and scores of a task and recipe
in the user's own folder, and one training stopped after 16 of its 24 updates. The run asks for own
chains, so that tables of papers may change. The archive never changes: a version that cannot continue
from it costs users their models.
"""

import json
import re
import tarfile

import pytest
from support.workplace import REPOSITORY, Workplace

from nmtprune.experiment import paths
from nmtprune.experiment.run import Run
from nmtprune.foundation.files import read_table
from nmtprune.planning.jobs import Jobs

ARCHIVE = REPOSITORY / "tests" / "golden" / "upgrade.tar.xz"
STOPPED = "micro/micro/s2/train"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    workplace = Workplace(tmp_path_factory.mktemp("old"), own="own")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(workplace.folder, filter="tar")
    return workplace


def test_nothing_is_made_again(old):
    with old.inside():
        assert Jobs(Run(old.config)).to_do() == []
    planned = old.snakemake("-n", "--quiet", "rules")
    assert planned.returncode == 0, planned.stderr
    rules = re.findall(r"^(\w+) +\d+ *$", planned.stdout + planned.stderr, re.MULTILINE)
    assert set(rules) <= {"pages", "all", "total"}  # a page was not made yet
    shown = old.nmtprune("status")
    assert shown.returncode == 0, shown.stderr


def test_a_training_that_was_stopped_goes_on(old):
    done = old.nmtprune("run", STOPPED)
    assert done.returncode == 0 and "resumed at update 16" in done.stdout, done.stdout + done.stderr
    made = json.loads((old.model(STOPPED) / paths.MANIFEST).read_text())
    assert made["updates"] == 24 and not (old.model(STOPPED) / "state" / paths.RESUME).exists()


def test_its_page_shows_its_scores(old):
    done = old.nmtprune("render")
    assert done.returncode == 0, done.stderr
    with old.inside():
        shown = {row["chain"]: float(row["bleu"]) for row in read_table("results/mine/chains/models.csv")}
        for chain in Run(old.config).own.chains:
            scores = {row["set"]: row["bleu"] for row in read_table(paths.scores(chain))}
            assert shown[chain.steps_text] == float(scores["test"])


def test_its_models_are_exported(old, tmp_path):
    done = old.nmtprune("export", "micro/micro/s1/train/prune-local-50/retrain", str(tmp_path / "exported"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exported" / "translate").exists()
