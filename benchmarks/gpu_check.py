"""Check a machine with a GPU in one command, and use the rest of the time for the evidence run.

    python benchmarks/gpu_check.py [--device cuda] [--minutes 10] [--at-once 3] [--out gpu_check]

Three parts, each of which leaves its file in `--out`:

checks.json   a small model trained, pruned and retrained in each precision: the precision that was used,
              masks that stay exactly zero, a development likelihood that gets better, and a training that is
              killed and resumed beside one that is not.
speed.json    training against stock fairseq, by training_speed.py.
kept/         what the rest of the time made of the preset's headline rows, `--at-once` trainings on a GPU
              at a time: scores, histories and manifests of the units that became whole, without checkpoints.
              The run itself lies in `--results`, and the same command goes on with it.

The exit status is 1 where a check fails. With `--device cpu --tiny` everything runs without a GPU.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from measuring import environment

from nmtprune.foundation.files import read_json, read_table, write_json, write_text
from nmtprune.store import checkpoints

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
PRECISIONS = {"cuda": ("fp32", "bf16", "fp16"), "cpu": ("fp32",)}
DENSE, RETRAINED = "train", "train/prune-global-50/retrain"
UPDATES = 60  # of the small model's trainings
SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_TO_STOP = 60.0  # for an interrupted run; then it is killed, and the next one resumes it
# what a resumed training's weights may differ by: nothing on a CPU; some sums of a GPU depend on their order
TOLERANCE = {"cpu": 0.0, "cuda": 1e-3}


def recipe(precision: str, updates: int) -> dict[str, Any]:
    """The recipe `toy` in a precision, for a few updates, with a save at every validation."""
    rates = {"peak": 2e-3, "warm_up": 5, "decay": "constant"}
    schedule = {"updates": updates, "learning_rate": rates}
    return {
        "extends": "toy",
        "title": f"Check of {precision}",
        "training": {"precision": precision, "validate_every": max(1, updates // 6), "snapshots": []},
        "schedules": {"train": schedule, "retrain": schedule},
    }


def snakemake(folder: Path, *arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess:
    """Run the workflow in a folder; SIGINT after `seconds`, as Ctrl-C, so that trainings keep their state."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment() | {"PATH": path},
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode)


def _heed_interrupts() -> None:
    """Undo that a shell lets its background jobs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def settings(own: Path, device: str, chains: Sequence[str]) -> list[str]:
    """Snakemake's arguments for a run of these chains alone."""
    pairs = {"name": "check", "own": own, "device": device, "papers": "[]", "controls": "false"}
    return ["--config", *(f"{key}={value}" for key, value in pairs.items()), f"chains=[{','.join(chains)}]"]


def check(folder: Path, device: str, updates: int) -> dict[str, dict[str, Any]]:
    """What was found in each precision; `failed` lists the checks that it does not pass."""
    own, found = folder / "own", {}
    for precision in PRECISIONS[device]:
        write_text(own / "recipes" / f"check-{precision}.yaml", yaml.safe_dump(recipe(precision, updates)))
    chains = {each: f"toy/check-{each}/s1/{RETRAINED}" for each in PRECISIONS[device]}
    done = snakemake(folder, "--cores", "1", "--keep-going", *settings(own, device, list(chains.values())))
    for precision in chains:
        models = folder / "results" / "models" / f"toy/check-{precision}/s1"
        if not (models / RETRAINED / "manifest.json").exists():
            found[precision] = {"failed": [f"not trained (status {done.returncode})"]}
            continue
        seen = look(models, precision)
        moved = resumed(folder, own, device, precision)
        seen |= {"resumed_at": moved["update"], "largest_difference": moved["difference"]}
        if moved["difference"] > TOLERANCE[device]:
            seen["failed"].append("a resumed training has other weights")
        found[precision] = seen
    return found


def look(models: Path, precision: str) -> dict[str, Any]:
    """What the finished trainings of one precision say of themselves."""
    manifest = read_json(models / RETRAINED / "manifest.json")
    history = [float(row["dev_nll"]) for row in read_table(models / DENSE / "history.csv")]
    masks = checkpoints.read_masks(models / "train/prune-global-50/mask.pt")
    weights = checkpoints.read(models / RETRAINED / "model.pt")["model"]
    nonzero = sum(int(weights[name][~mask.bool()].count_nonzero()) for name, mask in masks.items())
    used = manifest.get("precision", "fp32")
    failed = []
    if used != precision:
        failed.append(f"trained in {used}")
    if nonzero:
        failed.append(f"{nonzero} pruned weights are not zero")
    if not history[-1] < history[0]:
        failed.append("the development likelihood does not get better")
    return {
        "precision": used,
        "pruned_weights": sum(int((~mask.bool()).sum()) for mask in masks.values()),
        "pruned_weights_that_are_not_zero": nonzero,
        "dev_nll": [history[0], history[-1]],
        "failed": failed,
    }


def resumed(folder: Path, own: Path, device: str, precision: str) -> dict[str, Any]:
    """Kill a training once it has saved its state, resume it, and compare its weights with the first ones."""
    chain = f"toy/check-{precision}/s1/{DENSE}"
    model = folder / "results" / "models" / chain
    wanted = weights_of(model / "last.pt")
    apart = model.with_name("undisturbed")
    model.rename(apart)
    command = [sys.executable, "-m", "nmtprune", "run", chain, "--set", f"own={own}", f"device={device}"]
    state = model / "state" / "resume.pt"
    with subprocess.Popen(command, cwd=folder, env=environment()) as killed:
        while killed.poll() is None and not state.exists():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        killed.kill()
    update = checkpoints.read(state)["progress"]["update"] if state.exists() else None
    subprocess.run(command, cwd=folder, env=environment(), check=True)
    weights = weights_of(model / "last.pt")
    difference = max(float((weights[name].float() - wanted[name].float()).abs().max()) for name in wanted)
    return {"update": update, "difference": difference}


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, without fairseq's `_float_tensor`, memory that nothing writes."""
    weights = checkpoints.read(file)["model"]
    return {name: weight for name, weight in weights.items() if "_float_tensor" not in name}


def measure_speed(out: Path, device: str, tiny: bool) -> None:
    """Training against stock fairseq, in every precision of the device."""
    for precision in PRECISIONS[device]:
        command = [sys.executable, HERE / "training_speed.py", "--device", device, "--precision", precision]
        file = out / f"speed-{precision}.json"
        more = ["--tiny"] if tiny else ["--rounds", "2", "--updates", "200", "--warm-up", "100"]
        subprocess.run([*command, *more, "--json", file], env=environment(), check=True)


def go_on(options: argparse.Namespace, seconds: float) -> None:
    """Make headline rows of the preset for so many seconds, and keep the units that became whole."""
    work = options.results.resolve()
    work.mkdir(parents=True, exist_ok=True)
    given = [f"preset={options.preset}", f"device={options.device}", "only_headlines=true", *options.set]
    given += [f"jobs_per_gpu={options.at_once}"]
    cores = str(os.cpu_count() or 1)
    snakemake(work, "--cores", cores, "--keep-going", "--config", *given, seconds=seconds)
    kept = [sys.executable, "-m", "nmtprune", "keep", str((options.out / "kept").resolve()), "--set", *given]
    subprocess.run(kept, cwd=work, env=environment(), check=False)


def report(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each precision."""
    lines = []
    for precision, seen in found.items():
        if seen["failed"]:
            lines.append(f"{precision}: failed: {'; '.join(seen['failed'])}")
            continue
        first, last = seen["dev_nll"]
        lines.append(
            f"{precision}: {seen['pruned_weights']:,} pruned weights are exactly zero; development NLL "
            f"{first:.3f} -> {last:.3f}; resumed at update {seen['resumed_at']}, weights differ by at most "
            f"{seen['largest_difference']:g}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=tuple(PRECISIONS), default="cuda")
    parser.add_argument("--minutes", type=float, default=10, help="for all parts together (default: 10)")
    parser.add_argument("--at-once", type=int, default=3, help="trainings that share a GPU (default: 3)")
    parser.add_argument(
        "--preset", default="multi30k", help="whose headline rows are made (default: %(default)s)"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="more settings of that run")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"))
    parser.add_argument("--results", type=Path, default=Path("gpu_check/run"), help="where that run lies")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that everything works")
    options = parser.parse_args()
    began = time.monotonic()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_check: there is no GPU that PyTorch can use; `--device cpu --tiny` tries the script")
    options.out.mkdir(parents=True, exist_ok=True)
    where = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{where}, PyTorch {torch.__version__}: {shlex.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="nmtprune-gpu-") as folder:
        found = check(Path(folder), options.device, 12 if options.tiny else UPDATES)
    write_json(options.out / "checks.json", {"device": where, "precisions": found})
    print("\n".join(report(found)), flush=True)
    measure_speed(options.out, options.device, options.tiny)
    if (seconds := 60 * options.minutes - (time.monotonic() - began)) > 0:
        go_on(options, seconds)
    sys.exit(1 if any(seen["failed"] for seen in found.values()) else 0)


if __name__ == "__main__":
    main()
