"""Distilled tasks: targets are a teacher's translations, and a killed distillation ends with equal files."""

import os
import shutil
import signal
import sys
from itertools import pairwise

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.workplace import MICRO, SETTINGS

from nmtprune.data.corpus import own_files
from nmtprune.data.subwords import Subwords
from nmtprune.experiment import chain, paths, slices
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import from_settings
from nmtprune.experiment.search import Search
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines
from nmtprune.store import manifest
from nmtprune.store.model import PADDING, Model, of_chain
from nmtprune.translation.batching import translate
from nmtprune.translation.distillation import evenly_spaced, make_distilled
from nmtprune.translation.opening import open_engine

TEACHER, OTHER = "micro/micro-teacher/s1/train", "micro/micro-teacher/s2/train"


@pytest.fixture
def school(bench):
    """A workplace with the micro task's data, a teacher of each of two seeds, and an own folder for tasks."""
    workplace = bench(TEACHER, OTHER)
    shutil.copytree(MICRO, workplace / "own")
    workplace.configure(own="own")
    return workplace


def distilled(workplace, name="pupil", **settings):
    """Write an own task that is distilled from the micro task."""
    task = {
        "title": "Pupil",
        "distilled": {"from": "micro", "recipe": "micro-teacher", "shards": 3, **settings},
    }
    (workplace / "own" / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return name


def distil(workplace, name):
    """Make the text of a distilled task in this very process."""
    with workplace.inside():
        make_distilled(workplace.config, name)
    return workplace / paths.text(name)


def texts(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


def test_the_targets_are_the_teachers_and_all_else_is_the_tasks_below(school):
    folder, below = distil(school, distilled(school, beam=3)), school / paths.text("micro")
    with school.inside():
        model = of_chain(school.config, chain.parse(TEACHER))
        subwords = Subwords.load(school.config.data_folder(chain.parse(TEACHER)))
    sources = read_lines(below / "train.src")
    search = Search(beam=3, max_len_a=1.5, max_len_b=10)
    engine, encoded = open_engine(model), [subwords.encode("source", line).split() for line in sources]
    found = [
        each for shard in (0, 100, 200) for each in translate(engine, encoded[shard : shard + 100], search)
    ]
    translations = [subwords.decode(" ".join(each)).strip() for each in found]
    pairs = list(zip(read_lines(folder / "train.src"), read_lines(folder / "train.tgt"), strict=True))
    counts = read_json(folder / "manifest.json")["counts"]["train"]
    assert pairs == [pair for pair in zip(sources, translations, strict=True) if pair[1]]
    assert counts == {**dict.fromkeys(counts, 0), "read": 300, "kept": len(pairs), "empty": 300 - len(pairs)}
    assert read_lines(folder / "train.tgt") != read_lines(below / "train.tgt")
    for name in ("dev.src", "dev.tgt", "test.src", "test.tgt"):
        assert (folder / name).read_bytes() == (below / name).read_bytes()


def test_a_distilled_task_has_all_that_the_task_below_has():
    run = from_settings(SETTINGS)
    below, task = run.task("micro"), run.task("micro-distilled")
    assert {key: value for key, value in task.said.items() if key not in ("title", "distilled")} == {
        key: value for key, value in below.said.items() if key not in ("title", "about")
    }
    assert task.probing == below.probing and own_files(task, None) == []
    assert run.teachers("micro") == [] and list(map(str, run.teachers("micro-distilled"))) == [TEACHER]
    assert (
        "distilled" not in slices.of_text(run, "micro")
        and slices.of_text(run, "micro-distilled")["decoding"]["length_penalty"] == 1.0
    )


def test_the_manifest_names_teachers_and_search(school):
    facts = read_json(distil(school, distilled(school, beam=3)) / "manifest.json")
    teacher = read_json(school.model(TEACHER) / "manifest.json")["digest"]
    assert facts["distilled"] == {
        **{
            "from": "micro",
            "recipe": "micro-teacher",
            "seeds": [1],
            "chain": "train",
            "beam": 3,
            "shards": 3,
            "sample": None,
        },
        **{"teachers": {TEACHER: teacher}, "engine": "ctranslate2", "sentences": 300, "too_long": 0},
    }
    assert facts["counts"]["test"]["kept"] == 40 and set(facts["files"]) >= {
        "train.src",
        "train.tgt",
        "dev.src",
        "test.tgt",
    }


def test_a_killed_distillation_goes_on_and_ends_with_the_same_bytes(school):
    process = school.start(sys.executable, "-m", "nmtprune", "text", "micro-distilled")
    while not process.stdout.readline().startswith("shard 2 of 100"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder = school / paths.text("micro-distilled")
    (state,) = (each for each in (folder / "state").iterdir() if each.is_dir())
    kept = {file.name: file.stat().st_mtime_ns for file in state.glob("shard-*.json")}
    assert 2 <= len(kept) < 100 and not (folder / "manifest.json").exists()
    (state / ".shard-99.json.1.tmp").write_text("[")  # as a kill in the middle of a shard leaves it
    assert school.nmtprune("text", "micro-distilled").returncode == 0
    assert {name: (state / name).stat().st_mtime_ns for name in kept} == kept
    assert len(list(state.iterdir())) == 100
    interrupted = texts(folder)
    shutil.rmtree(folder)
    assert texts(distil(school, "micro-distilled")) == interrupted


def test_what_is_done_is_not_done_again(school, capsys):
    folder = distil(school, distilled(school))
    before = texts(folder)
    assert capsys.readouterr().out.count("words/s") == 3
    (folder / "manifest.json").unlink()  # as Snakemake does before a rerun
    assert texts(distil(school, "pupil")) == before
    assert "words/s" not in capsys.readouterr().out


def test_a_student_depends_on_the_teacher(school):
    digests = set()
    for seed in (1, 2):
        distil(school, distilled(school, seeds=[seed]))
        school.make_encoded("pupil")
        with school.inside():
            digests.add(manifest.digest_of(school.config, chain.parse("pupil/micro/s1/train")))
    assert len(digests) == 2


def test_sources_that_outgrow_the_teacher_are_dropped_and_counted(school, monkeypatch):
    with school.inside():
        subwords = Subwords.load(school.config.data_folder(chain.parse(TEACHER)))
    lengths = [
        len(subwords.encode("source", line).split())
        for line in read_lines(school / paths.text("micro") / "train.src")
    ]
    limit = sorted(lengths)[200]
    monkeypatch.setattr(Model, "max_source_length", limit)
    facts = read_json(distil(school, distilled(school)) / "manifest.json")
    longer = sum(length > limit for length in lengths)
    assert 0 < longer == facts["distilled"]["too_long"] and facts["counts"]["train"]["read"] == 300 - longer


def test_a_sample_is_evenly_spaced(school):
    folder, below = distil(school, distilled(school, sample=30)), school / paths.text("micro")
    assert set(read_lines(folder / "train.src")) <= set(read_lines(below / "train.src")[9::10])
    assert read_json(folder / "manifest.json")["distilled"]["sentences"] == 30


@given(st.integers(1, 60), st.integers(1, 60))
def test_evenly_spaced_lines(total, wanted):
    places = list(map(int, evenly_spaced(map(str, range(total)), total, min(wanted, total))))
    gaps = {after - before for before, after in pairwise(places)}
    assert (
        len(places) == min(wanted, total)
        and len(gaps) <= 2
        and max(gaps, default=0) - min(gaps, default=0) <= 1
    )


def test_an_ensemble_averages_probabilities(school):
    from nmtprune.fairseq_bridge.generation import FairseqEngine

    with school.inside():
        first, second = (of_chain(school.config, chain.parse(each)) for each in (TEACHER, OTHER))
        subwords = Subwords.load(school.config.data_folder(chain.parse(TEACHER)))
    sources = [
        subwords.encode("source", line).split()
        for line in read_lines(school / paths.text("micro") / "test.src")
    ]
    greedy = Search(beam=1, max_len_b=20)
    ensemble = FairseqEngine(first, "cpu", [second])
    hypotheses = translate(ensemble, sources, greedy)
    alone = [translate(FairseqEngine(model, "cpu"), sources, greedy) for model in (first, second)]
    assert hypotheses not in alone
    assert translate(FairseqEngine(first, "cpu", [first]), sources, greedy) == alone[0]
    for source, hypothesis in zip(sources, hypotheses, strict=True):
        probabilities = sum(_next_piece(model, source, hypothesis[:-1]) for model in (first, second)) / 2
        if hypothesis:
            assert first.target_dictionary[int(probabilities.argmax())] == hypothesis[-1]


def _next_piece(model, source, prefix):
    """The probabilities of the piece after `prefix`, by one model alone."""
    from nmtprune.fairseq_bridge.generation import FairseqEngine

    engine = FairseqEngine(model, "cpu")
    batch = engine._batch([source], [prefix])
    with torch.inference_mode():
        probabilities = engine._model.get_normalized_probs(
            engine._model(**batch["net_input"]), log_probs=False, sample=batch
        )[0, -1]
    probabilities = probabilities.clone()
    probabilities[PADDING] = 0  # it is never selected
    return probabilities


def test_a_task_distilled_by_an_ensemble(school):
    facts = read_json(distil(school, distilled(school, seeds=[1, 2], sample=30)) / "manifest.json")[
        "distilled"
    ]
    assert list(facts["teachers"]) == [TEACHER, OTHER] and facts["engine"] == "fairseq"


MISTAKES = {
    "task": (
        {"from": "micr"},
        "tasks/pupil.yaml: distilled.from: unknown task `micr`; did you mean `micro`?",
    ),
    "recipe": (
        {"recipe": "micr"},
        "tasks/pupil.yaml: distilled: unknown recipe `micr`; did you mean `micro`?",
    ),
    "step": (
        {"chain": "train/contin"},
        "tasks/pupil.yaml: distilled: unknown step `contin`; did you mean `continue`?",
    ),
    "chain": ({"chain": "train/retrain"}, "`retrain` cannot follow `train`"),
    "schedule": (
        {"chain": "train/continue-lng"},
        "tasks/pupil.yaml: distilled: recipe `micro-teacher` has no schedule `continue-lng`",
    ),
    "seeds": ({"seeds": []}, "pupil.yaml: distilled.seeds: [] should be non-empty"),
    "key": ({"beams": 3}, "tasks/pupil.yaml: distilled: unknown key `beams`; did you mean `beam`?"),
    "itself": ({"from": "pupil"}, "tasks/pupil.yaml: distilled.from: `pupil` would be made from itself"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_a_sentence(workplace, mistake):
    settings, said = MISTAKES[mistake]
    shutil.copytree(MICRO, workplace / "own")
    distilled(workplace, **settings)
    workplace.configure(own="own")
    with workplace.inside(), pytest.raises(UserError) as error:
        check_chain(workplace.config, chain.parse("pupil/micro/s1/train"))
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_circle_of_distillation(workplace):
    shutil.copytree(MICRO, workplace / "own")
    distilled(workplace, **{"from": "teacher"})
    distilled(workplace, "teacher", **{"from": "pupil"})
    workplace.configure(own="own")
    with workplace.inside(), pytest.raises(UserError, match="`pupil` would be made from itself"):
        check_chain(workplace.config, chain.parse("pupil/micro/s1/train"))


def test_a_distilled_task_has_no_corpora_of_its_own(workplace):
    shutil.copytree(MICRO, workplace / "own")
    task = {"title": "Pupil", "source": "en", "distilled": {"from": "micro", "recipe": "micro"}}
    (workplace / "own" / "tasks" / "pupil.yaml").write_text(yaml.safe_dump(task))
    workplace.configure(own="own")
    with (
        workplace.inside(),
        pytest.raises(UserError, match=r'pupil\.yaml: "source" is not one of title, about, distilled'),
    ):
        workplace.config.task("pupil")


def test_a_missing_teacher_is_told(school):
    name = distilled(school, seeds=[7])
    with pytest.raises(
        UserError, match=r"there is no results/models/.*/s7/train/manifest\.json: make it first"
    ):
        distil(school, name)
