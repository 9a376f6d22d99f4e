"""What the tests share: the repository, a micro task and recipe, and workplaces in which they are run."""

import os
import shutil

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before PyTorch: the number of threads decides the last bits of every sum
)

import hypothesis
import pytest

pytest.register_assert_rewrite("support")  # what fails in its functions is explained as in tests
from support.workplace import Workplace  # noqa: E402

# the same examples every time, and none fails because the machine is busy: what a test says depends on the
# code alone
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """A workplace with the micro task's data, where finished models of all tests are kept."""
    workplace = Workplace(tmp_path_factory.mktemp("studio"))
    workplace.make_data()
    return workplace


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The micro preset, run by Snakemake from nothing to the end."""
    workplace = Workplace(tmp_path_factory.mktemp("finished"))
    workplace.finish()
    return workplace


@pytest.fixture
def workplace(tmp_path):
    """An empty workplace."""
    return Workplace(tmp_path / "workplace")


@pytest.fixture
def bench(studio, workplace):
    """A function that gives an own workplace with the data and, made once for all tests, the models named."""

    def bring(*chains):
        shutil.copytree(studio / "results" / "data", workplace / "results" / "data")
        for chain in chains:
            studio.make(chain)
            parts = chain.split("/")
            for length in range(4, len(parts) + 1):
                made = "/".join(parts[:length])
                for name in ("model.pt", "last.pt", "mask.pt", "initial.pt", "manifest.json", "snapshots"):
                    there = studio.model(made) / name
                    if there.is_dir():
                        shutil.copytree(there, workplace.model(made) / name, dirs_exist_ok=True)
                    elif there.exists():
                        workplace.model(made).mkdir(parents=True, exist_ok=True)
                        shutil.copy(there, workplace.model(made) / name)
        return workplace

    return bring
