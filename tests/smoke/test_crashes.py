"""Whatever happens to a run, one sentence reports it and nothing is lost.

The same command then ends with the same tables.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from support.workplace import Workplace

UNTIMED = ("see2016", "wang2020", "wangtu2020")  # papers whose tables hold no seconds
# said by the job that found no room or, where the disk was full just after it, by Snakemake
FULL = re.compile(
    r"nmtprune: (results|\S*\.snakemake)/\S+: No space left on device: free some space; the same command "
    r"then continues"
)
FEW_KILLS = 6
KILLS = int(os.environ.get("NMTPRUNE_KILLS", FEW_KILLS))  # of the soak test; 50 take a quarter of an hour


def tables(place):
    files = [file for paper in UNTIMED for file in (place / "results").glob(f"micro*/{paper}/*.csv")]
    return {file.relative_to(place.folder): file.read_bytes() for file in files}


def same_results(ours, theirs):
    assert tables(theirs) and tables(ours) == tables(theirs)
    one, other = ours.tensors(), theirs.tensors()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in other)


def holds_something(file):
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def wait_for(process, *files):
    """Until one of the files is there and holds something, or the process has ended."""
    while not any(map(holds_something, files)) and process.poll() is None:
        time.sleep(0.02)


def processes_of(folder):
    """All processes that work in a folder: Snakemake, the warm process, jobs and those who wait for them."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(each / "cwd") == str(folder):
                found.append(int(each.name))
        except OSError:
            continue
    return found


def test_soak(finished, workplace, tmp_path):
    """Kill one process or all of them, again and again, at random moments of the run."""
    if KILLS > FEW_KILLS:
        finished = Workplace(tmp_path / "finished", preset="micro-papers")
        finished.finish()
        workplace.configure(preset="micro-papers")
    moments, kills = random.Random(1), 0
    while kills < KILLS:
        process = workplace.start(*workplace.snakemake_command("--cores", "2"))
        ended = time.monotonic() + moments.uniform(3, 8)
        while time.monotonic() < ended and process.poll() is None:
            time.sleep(0.05)
        if process.poll() == 0:
            break
        running = processes_of(workplace.folder)
        victims = running if moments.random() < 0.5 else moments.sample(running, min(1, len(running)))
        for each in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        kills += 1
        process.terminate()  # where it lives: it ends after the jobs that still run
        process.communicate()
    print(f"{kills} kills", flush=True)
    workplace.finish()
    same_results(workplace, finished)


def test_killed_at_chosen_moments_the_same_command_ends_with_the_same_tables(finished, workplace):
    """In a training, in a training of a pruned model, and while a model is scored."""
    moments = random.Random(1)
    for (
        steps,
        name,
        later,
        whole,
    ) in (  # the file that tells the moment, and the one that says that it has passed
        ("train", "state/resume.pt", "manifest.json", True),
        ("train/prune-local-50/retrain", "state/resume.pt", "manifest.json", False),
        ("train/continue", "hypotheses/test.txt", "scores.csv", True),
    ):
        process = workplace.start(*workplace.snakemake_command("--cores", "2"))
        model = workplace.model(f"micro/micro/s1/{steps}")
        wait_for(process, model / name, model / later)
        time.sleep(moments.random())
        assert process.poll() is None, process.communicate()[1][-3000:]
        if whole:  # Snakemake with those who wait for its jobs, else Snakemake alone
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    workplace.finish()
    same_results(workplace, finished)


def test_orphans_of_a_killed_snakemake_never_write_beside_their_successors(finished, workplace):
    """Without the warm process, which ends with Snakemake, jobs outlive it."""
    process = workplace.start("env", "NMTPRUNE_COLD=1", *workplace.snakemake_command("--cores", "2"))
    model = workplace.model("micro/micro/s1/train")
    wait_for(process, model / "state" / "resume.pt", model / "manifest.json")
    process.kill()
    process.communicate()
    workplace.finish()
    same_results(workplace, finished)


def test_a_second_run_in_the_same_place_is_told_so(finished, workplace):
    first = workplace.start(*workplace.snakemake_command("--cores", "2"))
    wait_for(first, workplace / "results" / ".run.lock")
    first.send_signal(signal.SIGSTOP)  # it is at work for as long as the second one takes to start
    second = workplace.snakemake("--cores", "2")
    first.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert (
        f"another run (process {first.pid}) works on {workplace / 'results'}" in second.stdout + second.stderr
    )
    _, err = first.communicate()
    assert first.returncode == 0, err[-3000:]
    same_results(workplace, finished)


@pytest.fixture
def small_disk(finished, tmp_path):
    """A file system of its own with half the room that a run takes, and a function that makes it larger.

    Needs root.
    """
    place = tmp_path / "disk"
    place.mkdir()
    half = (
        sum(
            file.lstat().st_blocks * 512 // file.lstat().st_nlink
            for file in (finished / "results").rglob("*")
            if file.is_file()
        )
        // 2
    )
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={half}", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(finished, small_disk):
    place, enlarge = small_disk
    workplace = Workplace(place / "workplace", check_space=False)
    (workplace / "results").mkdir()
    done = workplace.snakemake("--cores", "2")
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert FULL.search(told), told[-3000:]
    assert "Traceback" not in told, told[told.index("Traceback") :][:3000]
    enlarge()
    workplace.finish()
    same_results(workplace, finished)


def test_no_room_for_snakemakes_own_files(workplace):
    """A job has made its file, and Snakemake cannot record it: the same sentence, whichever file it is."""
    text, own = "results/data/micro/text/manifest.json", workplace / ".snakemake"
    own.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(own)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    try:
        assert workplace.snakemake("-n", text).returncode == 0  # makes its folders
        used = int(
            subprocess.run(
                ["df", "--output=iused", own], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        subprocess.run(["mount", "-o", f"remount,nr_inodes={used + 1}", own], check=True)
        done = workplace.snakemake("--cores", "1", text)
        told = done.stdout + done.stderr
        assert done.returncode != 0 and FULL.search(told) and "Traceback" not in told, told
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", own], check=True)
        done = workplace.snakemake("--cores", "1", text)
        assert done.returncode == 0 and (workplace / text).exists(), done.stderr
    finally:
        subprocess.run(["umount", "--lazy", str(own)], check=True)
