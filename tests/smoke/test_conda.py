"""`--sdm conda` with a pretended conda: jobs run in the environment that it makes.

No real conda is tried.
"""

import os
import sys

from support.workplace import REPOSITORY

CONDA = """#!/bin/sh
echo "conda $*" >> "{said}"
case "$*" in
    *--version*) echo conda 24.11.1 ;;
    *"config --get"*) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    *info*) echo '{{"conda_prefix": "{base}", "root_prefix": "{base}", "platform": "linux-64"}}' ;;
    *create*)
        while [ "$1" != --prefix ]; do
            case "$1" in
                --file) cp "$2" "{base}/environment.yaml" ;;
                --file=*) cp "${{1#--file=}}" "{base}/environment.yaml" ;;
            esac
            shift
        done
        mkdir -p "$2/bin" "$2/conda-meta" && cp "{base}/python" "$2/bin/python" ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH"\n'
# its packages are those of the Python that runs the tests
PYTHON = """#!/bin/sh
echo "$0 PYTHONPATH=$PYTHONPATH warm=${{NMTPRUNE_WARM-none}} $*" >> "{said}"
case "$*" in "-m nmtprune "*) exec "{python}" "$@" ;; esac
"""


def test_jobs_run_in_the_environment_that_conda_makes(workplace, monkeypatch):
    base, said = workplace / "conda", workplace / "said"
    (base / "bin").mkdir(parents=True)
    for file, text in (("bin/conda", CONDA), ("bin/activate", ACTIVATE), ("python", PYTHON)):
        whole = text if text is ACTIVATE else text.format(said=said, base=base, python=sys.executable)
        (base / file).write_text(whole)
        (base / file).chmod(0o755)
    monkeypatch.setenv("PATH", f"{base / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CONDA_EXE", str(base / "bin/conda"))
    text = "results/data/micro/text/manifest.json"
    done = workplace.snakemake("--cores", "1", "--sdm", "conda", "--", text)
    assert done.returncode == 0 and (workplace / text).exists(), done.stdout + done.stderr
    assert (base / "environment.yaml").read_bytes() == (REPOSITORY / "envs/conda.yaml").read_bytes()
    lines = [line for line in said.read_text().splitlines() if not line.startswith("conda ")]
    (made,) = (workplace / ".snakemake/conda").glob("*/bin/python")
    assert all(line.startswith(f"{made} ") for line in lines)
    *after, job = lines
    assert [line.split()[-1] for line in after] == [
        "pip",
        "fairseq==0.12.2",
    ]  # pip freeze --exclude pip, pip install
    assert f"PYTHONPATH={REPOSITORY / 'workflow'} warm=none -m nmtprune text micro" in job
