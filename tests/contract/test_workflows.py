"""What the workflows of GitHub rely on: targets of the Makefile, files, and the form of the pins."""

import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.workplace import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
WORKFLOWS = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FOLDER.glob("*.yml")}
JOBS = {f"{name}: {job}": said for name, each in WORKFLOWS.items() for job, said in each["jobs"].items()}
LINES = [
    line.strip()
    for job in JOBS.values()
    for step in job["steps"]
    for line in step.get("run", "").splitlines()
]
NODE_24 = {"checkout": 6, "setup-python": 6, "upload-artifact": 6}  # the first versions that run on it


def steps(action):
    return [
        step
        for job in JOBS.values()
        for step in job["steps"]
        if step.get("uses", "").startswith(f"actions/{action}@")
    ]


def commands_of(*targets):
    """What make would run, with everything made anew."""
    dry = ["make", "--dry-run", "--always-make", *targets]
    return subprocess.run(dry, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def absent(text):
    """The files of the repository that commands name and that are not there."""
    named = set(re.findall(r"\b(?:envs|tests|benchmarks|workflow|docs)/[\w./-]+", text))
    assert named
    return {path for path in named if not (REPOSITORY / path).exists()}


def test_every_target_that_is_made_is_one_of_the_makefile():
    made = {target for line in LINES for target in re.findall(r"^make ([\w-]+)", line)}
    assert made and commands_of(*made)


def test_every_file_that_the_makefile_names_exists():
    targets = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)[1].split()
    assert absent(commands_of(*targets)) == set()


def test_every_file_that_a_line_names_exists():
    assert absent("\n".join(LINES)) == set()


def test_what_the_cache_depends_on_exists():
    patterns = {step["with"].get("cache-dependency-path") for step in steps("setup-python")} - {None}
    assert patterns and all(list(REPOSITORY.glob(pattern)) for pattern in patterns)


def test_actions_run_on_a_node_that_runners_have():
    used = {use for job in JOBS.values() for step in job["steps"] if (use := step.get("uses"))}
    versions = [re.fullmatch(r"actions/([\w-]+)@v(\d+)", use).groups() for use in used]
    assert {name for name, version in versions if int(version) < NODE_24[name]} == set()


@pytest.mark.parametrize("job", JOBS)
def test_every_job_checks_out_first_and_has_a_limit(job):
    assert JOBS[job]["steps"][0]["uses"].startswith("actions/checkout@")
    assert 0 < JOBS[job]["timeout-minutes"] <= 360  # what GitHub gives a job


def test_workflows_may_read_and_no_more():
    assert all(each["permissions"] == {"contents": "read"} for each in WORKFLOWS.values())


def test_every_python_that_is_supported_is_tested():
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        supported = SpecifierSet(tomllib.load(file)["project"]["requires-python"])
    tested = WORKFLOWS["tests"]["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(20) if f"3.{minor}" in supported]
    others = [step["with"]["python-version"] for step in steps("setup-python")]
    others += WORKFLOWS["canary"]["jobs"]["unlocked"]["strategy"]["matrix"]["python"]
    assert {each for each in others if "matrix" not in each} <= set(tested)


def test_the_canary_pins_nothing_but_what_fairseq_needs(tmp_path):
    commands = [line for line in LINES if line.startswith("sed ")]
    environment = {"RUNNER_TEMP": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-euc", "\n".join(commands)], cwd=REPOSITORY, env=environment, check=True)
    lines = [
        line.partition("#")[0].strip()
        for file in tmp_path.iterdir()
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    wanted = [Requirement(line) for line in lines if line]
    assert {"torch", "pytest"} <= {each.name for each in wanted}
    assert {each.name for each in wanted if each.specifier} == {"hydra-core", "omegaconf"}
