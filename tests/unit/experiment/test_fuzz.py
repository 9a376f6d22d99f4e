"""Random edits of a valid configuration and of a corpus give a sentence or a valid result.

They never give a traceback and never hang. NMTPRUNE_FUZZ=full tries 2,000 configurations and 500
corpora, for some minutes; otherwise a part of them is tried, always the same.
"""

import contextlib
import json
import os
import random
import signal
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.workplace import MICRO, PATIENCE

from nmtprune.data.corpus import make_corpus, own_files
from nmtprune.experiment import chain, config, paths, slices
from nmtprune.experiment.run import Run, with_teachers
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines
from nmtprune.store.units import Kept

FULL = os.environ.get("NMTPRUNE_FUZZ") == "full"
LONGEST = 60  # CPU seconds of one example
COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": not FULL,
}


@contextlib.contextmanager
def no_hang():
    def late(*_):
        raise AssertionError(
            f"still at it after {LONGEST} seconds of the CPU, or {2 * PATIENCE} by the clock"
        )

    timers = {
        signal.ITIMER_PROF: (signal.SIGPROF, LONGEST),
        signal.ITIMER_REAL: (signal.SIGALRM, 2 * PATIENCE),
    }
    before = {alarm: signal.signal(alarm, late) for alarm, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for alarm, handler in before.items():
            signal.signal(alarm, handler)


def said_well(error):
    """Sentences for a person: not empty, not cut open, not the inside of a program."""
    lines = str(error).splitlines()
    assert lines and all(0 < len(line) < 2000 for line in lines), error
    assert not any(word in str(error) for word in ("Traceback", "<nmtprune", "object at 0x", "Error:")), error


class Written(list):
    """The entries of a mapping in YAML, as they are written: keys may be numbers, null, or there twice."""


def as_written(value):
    if isinstance(value, dict):
        return Written((key, as_written(below)) for key, below in value.items())
    return [as_written(below) for below in value] if isinstance(value, list) else value


def flow(value):
    """YAML in its flow form."""
    if isinstance(value, Written):
        return "{" + ", ".join(f"{flow(key)}: {flow(below)}" for key, below in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def places(value, above=()):
    """Every place in a file, as the indices that lead there; of a mapping's entry to its value."""
    yield above
    if isinstance(value, list):
        for place in range(len(value)):
            below = value[place][1] if isinstance(value, Written) else value[place]
            yield from places(below, (*above, place))


def at(value, place):
    for step in place:
        value = value[step][1] if isinstance(value, Written) else value[step]
    return value


FILES = {
    "config.yaml": {
        "preset": "mine",
        "own": "own",
        "device": "cpu",
        "papers": None,
        "seeds": [1],
        "chains": [
            "mine/mine/s1/train/prune-local-50/retrain",
            "student/mine/s1/train/at-50",
            "mine/mine/s2/import-big/prune-global-60",
        ],
        "imports": {"big": {"checkpoint": "model.pt", "dictionaries": "own", "subwords": None}},
        "data_dir": "own",
        "shards": 1,
        "workers": 1,
        "check_space": True,
        "name": "mine-run",
        "controls": True,
        "speed": False,
        "only_headlines": False,
        "only_units": ["mine/mine", "student/mine/s1"],
        "kept": "own",
        "comet_model": None,
        "nodes": 1,
        "jobs_per_gpu": 1,
    },
    "own/tasks/mine.yaml": {
        "title": "Mine",
        "source": "en",
        "target": "de",
        "train": [
            {"files": "corpus.{lang}"},
            {"files": {"en": "corpus.en", "de": "corpus.de"}, "tokenised": True},
        ],
        "dev": {"held_out": 10},
        "test": {
            "test": [{"files": "corpus.{lang}"}],
            "toy": [{"toy": {"sentences": 40, "seed": 3}, "reverse": False}],
        },
        "sample": {"pairs": 10, "seed": 1},
        "cleaning": {"max_words": 100, "max_ratio": 3.5, "duplicates": "drop", "lowercase": False},
        "probing": {"train": 120, "hidden": [10], "dropout": [0]},
    },
    "own/tasks/student.yaml": {
        "title": "Student",
        "distilled": {"from": "mine", "recipe": "mine", "seeds": [1, 2], "chain": "train", "beam": 2},
    },
    "own/recipes/mine.yaml": {
        **yaml.safe_load((MICRO / "recipes" / "micro.yaml").read_text()),
        "lasso": {"gamma": "sqrt", "dead": "gap"},
        "importance": {"clip": 10, "beam": None},
    },
    "own/presets/mine.yaml": {
        **yaml.safe_load((MICRO / "presets" / "micro.yaml").read_text()),
        "papers": ["wang2020/figure1", "wang2020/table2"],
        "speed_rounds": 2,
        "seeds_of": {"wang2020": [1, 2]},
        "grids": {"wang2020/figure1": {"percent": [50]}},
    },
}
for kind in ("tasks", "recipes"):
    names = FILES["own/presets/mine.yaml"][kind]
    FILES["own/presets/mine.yaml"][kind] = {
        name: "mine" if said == "micro" else said for name, said in names.items()
    }

ODD = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2.0,
        0.5,
        -0.5,
        1e-4,
        10**9,
        10**30,
        -(10**30),
        1e300,
        [],
        Written(),
        "",
        " ",
        "0",
        "null",
        "mine",
        "micro",
    ),
    *(
        "ü漢字",
        "🙂",
        "a b",
        "a/b",
        "../mine",
        "/",
        ".",
        "..",
        "-rf",
        "$(x)",
        "{x}",
        "{lang}",
        "{",
        "a'b",
        'a"b',
        "a;b&c|d",
        "#x",
        "%d",
        "<b>",
        "a\nb",
    ),
    *(
        "x" * 300,
        "x" * 5000,
        "\x00",
        "\u2028",
        "2016",
        "train",
        "train/retrain",
        "mine/mine/s1/train",
        "wang2020",
        "wang2020/table2",
        "all",
    ),
    *(
        [None],
        ["a", 1],
        [[]],
        Written([("a", 1)]),
        Written([(1, 1)]),
        Written([("name", "lstm")]),
        [Written()],
    ),
]
KEYS = [
    *("", "x", "title", "extends", "name", "ü", "a b", "$x", "{x}", "-x", "x" * 300, "\n", "\x00", "<<"),
    2016,
    0.5,
    None,
    True,
    -1,
]


def edited(random, tree):
    """One random edit of a file, in place; the new file where all of it is replaced."""
    place = random.choice(list(places(tree)))
    if not place:
        return random.choice(ODD) if random.random() < 0.3 else tree
    parent, last = at(tree, place[:-1]), place[-1]
    mapping = isinstance(parent, Written)
    key, value = parent[last] if mapping else (None, parent[last])
    match random.choice(["delete", "value", "value", "value", "key", "twice", "add", "nest", "move"]):
        case "delete":
            del parent[last]
        case "value":
            parent[last] = (key, random.choice(ODD)) if mapping else random.choice(ODD)
        case "key" if mapping:
            parent[last] = (random.choice(KEYS), value)
        case "twice":
            parent.append(parent[last])
        case "add":
            parent.append((random.choice(KEYS), random.choice(ODD)) if mapping else random.choice(ODD))
        case "nest":
            nested = random.choice([[value], Written([("x", value)])])
            parent[last] = (key, nested) if mapping else nested
        case "move":
            source = random.choice(list(places(tree)))
            if mapping and place[: len(source)] != source:  # nothing moves into itself
                parent[last] = (key, at(tree, source))
    return tree


def everything(run):
    """What Snakemake asks of a configuration before it makes its plan."""
    whole = Run(run)
    asked, scored, items = whole.chains, whole.scored, whole.items
    assert set(scored) <= set(asked) and whole.outputs and Kept(run).targets(whole) is not None
    (
        whole.selected,
        whole.speed_groups,
        whole.stated_in,
        whole.headline_models,
        whole.variants,
        run.distilled_tasks(),
        run.seeds,
        run.as_arguments(),
    )
    for each in sorted(with_teachers(run, set(asked)), key=str):
        for ancestor in each.ancestors():
            json.dumps([slices.of_step(run, ancestor), run.workers(ancestor)], sort_keys=True)
            assert chain.parse(paths.chain_text(str(paths.manifest(ancestor)))) == ancestor
        json.dumps(
            [
                slices.of_scores(run, each.recipe),
                slices.of_text(run, each.task),
                run.task(each.task).probing.whole,
                run.recipe(each.recipe).importance.whole,
            ],
            sort_keys=True,
        )
        run.data_folder(each), run.shortlist(each), run.recipe(each.recipe).lasso
        json.dumps(run.subwords_named(run.data_folder(each).name))
    for task in {each.task for each in asked} - set(run.distilled_tasks()):
        own_files(run.task(task), run.data_dir)
    assert all(item.title for item in items)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, and a configuration that is valid before it is edited."""
    folder = tmp_path_factory.mktemp("fuzz")
    for kind in ("tasks", "recipes", "presets"):
        (folder / "own" / kind).mkdir(parents=True)
    for name in ("corpus.en", "corpus.de", "model.pt"):
        (folder / name).write_text("a sentence\n" * 40)
    with contextlib.chdir(folder):
        yield folder


def write(trees):
    for name, tree in trees.items():
        Path(name).write_text(flow(tree) + "\n", encoding="utf-8")


def test_the_configuration_is_valid_before_it_is_edited(place):
    write({name: as_written(value) for name, value in FILES.items()})
    everything(config.load())


@settings(max_examples=2000 if FULL else 120, **COMMON)
@given(st.integers(0, 2**32))
def test_an_edited_configuration(place, seed):
    draw = random.Random(seed)
    trees = {name: as_written(value) for name, value in FILES.items()}
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        name = draw.choice(list(trees))
        trees[name] = edited(draw, trees[name])
    write(trees)
    with no_hang():
        try:
            everything(
                config.load(
                    overrides=[
                        f"{key}={flow(draw.choice(ODD))}"
                        for key in ("shards", "papers")
                        if draw.random() < 0.05
                    ]
                )
            )
        except UserError as error:
            said_well(error)


SENTENCES = {
    "en": [f"the cat number {number} sees a dog ." for number in range(40)],
    "de": [f"die Katze Nummer {number} sieht einen Hünd ." for number in range(40)],
}
TASK = {
    "title": "Mine",
    "source": "en",
    "target": "de",
    "train": [{"files": "train.{lang}"}],
    "dev": [{"files": "dev.{lang}"}],
    "test": {"test": [{"files": "test.{lang}"}]},
}
SEPARATORS = [
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x00",
    "\r",
    "\ufeff",
    "\t",
    "\u00a0",
    "\u200b",
    "  ",
]


def spoil(draw, data):  # noqa: C901 - a case for each kind of edit
    """One random edit of a file of a corpus, in bytes."""
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    match draw.choice(
        [
            "blank",
            "gone",
            "latin-1",
            "bom",
            "separator",
            "cr",
            "crlf",
            "long",
            "empty",
            "blanks",
            "twice",
            "open",
            "bytes",
            "utf-16",
        ]
    ):
        case "blank":
            lines[place] = draw.choice([b"", b" ", b"\t", "\u3000".encode()])
        case "gone":
            del lines[place]
        case "latin-1":
            lines[place] = "Hünd".encode("latin-1")
        case "bom":
            lines[0] = b"\xef\xbb\xbf" + lines[0]
        case "separator":
            lines[place] = lines[place].replace(b" ", draw.choice(SEPARATORS).encode(), draw.choice([1, 99]))
        case "cr":
            return data.replace(b"\n", b"\r")
        case "crlf":
            return data.replace(b"\n", b"\r\n")
        case "long":
            lines[place] = draw.choice([b"word " * 20_000, b"x" * 100_000])
        case "empty":
            return b""
        case "blanks":
            return b"\n" * len(lines)
        case "twice":
            lines[place] = lines[0]
        case "open":
            return data.rstrip(b"\n")
        case "bytes":
            lines[place] = draw.choice(
                [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", bytes(draw.randrange(256) for _ in range(20))]
            )
        case "utf-16":
            return data.decode("utf-8", "replace").encode("utf-16")
    return b"\n".join(lines)


def whole_corpus():
    for split, count in (("train", 40), ("dev", 10), ("test", 10)):
        for language, sentences in SENTENCES.items():
            Path(f"{split}.{language}").write_text(
                "".join(f"{line}\n" for line in sentences[:count]), encoding="utf-8"
            )


def text_of(task, folder):
    """The cleaned text in `folder` by file, complete and with as many lines as were counted."""
    make_corpus(Task.over(task), folder, None, Path("downloads"))
    counts = read_json(folder / "manifest.json")["counts"]
    for split in Task.over(task).splits:
        sides = [read_lines(folder / f"{split}.{language}") for language in ("en", "de")]
        assert [len(side) for side in sides] == [counts[split]["kept"]] * 2 and counts[split]["kept"] > 0
        if split == "train":
            assert all(line == line.strip() and line for side in sides for line in side)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@settings(max_examples=500 if FULL else 60, **COMMON)
@given(st.integers(0, 2**32))
def test_a_spoilt_corpus_and_the_same_mended(seed):
    draw = random.Random(seed)
    cleaning = draw.choice(
        [
            {},
            {"duplicates": "drop", "max_words": 50, "max_ratio": 3},
            {"control_characters": "drop"},
            {"lowercase": True},
        ]
    )
    task = TASK | {"cleaning": cleaning}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), no_hang():
        whole_corpus()
        undisturbed = text_of(task, Path("undisturbed"))
        for _ in range(draw.choice([1, 1, 2, 4])):
            file = Path(f"{draw.choice(['train', 'train', 'dev', 'test'])}.{draw.choice(['en', 'de'])}")
            file.write_bytes(spoil(draw, file.read_bytes()))
        try:
            text_of(task, Path("text"))
        except UserError as error:
            said_well(error)
            assert not Path("text/manifest.json").exists()  # nothing takes what is left for whole
        whole_corpus()
        assert text_of(task, Path("text")) == undisturbed
