"""Every benchmark runs with tiny sizes and prints the ratios that it writes; the page shows them."""

import json
import re
import statistics
import subprocess
import sys

import pytest
import torch
from support.workplace import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
REPORT, GPU_CHECK = "report.py", "gpu_check.py"
SCRIPTS = sorted(
    file.name
    for file in BENCHMARKS.glob("*.py")
    if "__main__" in file.read_text(encoding="utf-8") and file.name not in (REPORT, GPU_CHECK)
)
COMMANDS = [*([script] for script in SCRIPTS), ["training_speed.py", "--model", "lstm"]]


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import report
    finally:
        sys.path.remove(str(BENCHMARKS))
    return report


def run(folder, script, *arguments):
    command = [sys.executable, BENCHMARKS / script, "--tiny", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_benchmark_prints_the_ratios_that_it_writes(tmp_path, command):
    printed = run(tmp_path, *command, "--json", tmp_path / "ratios.json")
    ratios = json.loads((tmp_path / "ratios.json").read_text(encoding="utf-8"))
    ratios.pop("about", None)
    assert ratios
    for values in ratios.values():
        rounds = values["rounds"]
        assert (values["ratio"], values["low"], values["high"]) == (
            statistics.median(rounds),
            min(rounds),
            max(rounds),
        )
        assert values["low"] > 0
        assert re.search(rf"(?<![\d.]){values['ratio']:.2f}x", printed)


def test_the_check_of_a_gpu_runs_without_one(tmp_path):
    """Checks, speed against stock fairseq, and a run that is stopped when the time is over."""
    printed = run(tmp_path, GPU_CHECK, "--device", "cpu", "--minutes", "0", "--preset", "toy", "--out", "out")
    found = json.loads((tmp_path / "out" / "checks.json").read_text(encoding="utf-8"))["precisions"]["fp32"]
    assert found["failed"] == [] and found["pruned_weights"] > 0 and found["largest_difference"] == 0
    assert found["pruned_weights_that_are_not_zero"] == 0 and found["dev_nll"][1] < found["dev_nll"][0]
    assert f"fp32: {found['pruned_weights']:,} pruned weights are exactly zero" in printed
    (speed,) = json.loads((tmp_path / "out" / "speed-fp32.json").read_text(encoding="utf-8")).values()
    assert speed["low"] > 0


def test_a_gpu_that_is_not_there_is_said(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / GPU_CHECK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "there is no GPU that PyTorch can use" in done.stderr


def test_the_page_has_every_benchmark(report):
    assert {benchmark.script for benchmark in report.BENCHMARKS} == set(SCRIPTS)
    names = [benchmark.name for benchmark in report.BENCHMARKS]
    assert len(set(names)) == len(names)


def test_the_page_is_written_from_what_was_measured(tmp_path):
    printed = run(
        tmp_path, REPORT, "--only", "gemm", "--results", tmp_path / "results", "--page", tmp_path / "page.md"
    )
    record = json.loads((tmp_path / "results" / "gemm.json").read_text(encoding="utf-8"))
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert record["machine"]["cpu"] in page and record["date"] in page
    assert f"torch {record['machine']['versions']['torch']}" in page
    for precision, rate in record["results"]["about"]["peak"].items():
        assert f"{rate:.1f} GFLOP/s in {precision}" in page and f"{rate:.1f} GFLOP/s" in printed
    assert page.count("Not measured yet.") == page.count("\n## ") - 1


def record(ratio, **machine):
    about = {
        "cpu": "A processor",
        "cores": 2,
        "instruction_sets": ["AVX2"],
        "bfloat16": True,
        "threads": 1,
        "versions": {"torch": "2.13"},
    }
    results = {
        "one": {
            "ratio": ratio,
            "low": 1.0,
            "high": 2.5,
            "rounds": [1.0, ratio, 2.5],
            "more": {"words/s": "1,000"},
        }
    }
    return {
        "command": "scoring_speed.py",
        "date": "2026-11-30",
        "machine": about | machine,
        "results": results,
    }


def test_a_row_has_ratio_spread_rounds_and_what_else_was_measured(report):
    page = report.page({"scoring": record(2.25)})
    assert "| one | 2.25x | 1.00 to 2.50 | 3 | 1,000 |" in page


def test_a_page_without_bfloat16_says_why(report):
    assert "were not measured" not in report.page({"scoring": record(2.0)})
    assert "no instructions for products in bfloat16" in report.page({"scoring": record(2.0, bfloat16=False)})


def test_numbers_of_two_machines_do_not_share_a_page(report):
    with pytest.raises(ValueError, match="`training-128` and `scoring` were measured on different machines"):
        report.page({"training-128": record(2.0), "scoring": record(2.0, cpu="Another processor")})
