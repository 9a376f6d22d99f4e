"""The shipped tasks, and what their schema refuses."""

from pathlib import Path

import pytest

from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError

TASKS = sorted((WORKFLOW / "tasks").glob("*.yaml"))
CHECKSUM = "0" * 64


def task(**changes):
    source = [{"files": "own.{lang}"}]
    return {
        "title": "Own",
        "source": "en",
        "target": "de",
        "train": source,
        "dev": source,
        "test": {"news": source},
        **changes,
    }


@pytest.mark.parametrize("file", TASKS, ids=lambda file: file.stem)
def test_every_task_is_valid(file: Path):
    content = read_yaml(file)
    validate(content, "task", file.name)
    if "distilled" in content:
        assert file.stem.startswith(content["distilled"]["from"]) and file.stem.endswith("-distilled")
    elif "extends" in content:
        assert file.stem.startswith(f"{content['extends']}-")
    elif not file.stem.startswith("toy"):
        assert file.stem.endswith(f"{content['source']}-{content['target']}")


def test_the_corpora_of_the_papers_are_there():
    assert {
        "toy",
        "toy-reversed",
        "wmt14-en-de",
        "wmt14-2737-en-de",
        "wmt17-zh-en",
        "wmt14-en-fr",
        "iwslt14-de-en",
        "iwslt15-vi-en",
        "iwslt17-en-fr",
        "wmt21-en-de",
        "wmt13-es-en",
        "wmt18-et-en",
        "wmt13-es-en-13m-distilled",
        *(f"multi30k-{pair}" for pair in ("en-de", "de-en", "en-fr", "cs-en")),
        *(f"wmt14-en-fr-{pairs}m" for pairs in (5, 10, 15, 20)),
        *(f"multi30k-en-fr-{pairs}k" for pairs in (4, 8, 12, 16)),
        *(f"{name}-distilled" for name in ("toy", "toy-reversed", "multi30k-en-de", "multi30k-de-en")),
        *(f"{name}-distilled" for name in ("wmt14-en-de", "wmt21-en-de", "wmt13-es-en", "wmt18-et-en")),
    } == {file.stem for file in TASKS}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dev": {"held_out": 23}},
        {
            "train": [
                {"url": "https://x.org/t.{lang}.gz", "sha256": {"en": CHECKSUM}},
                {"mtdata": "A-b-1-deu-eng", "tokenised": True},
            ]
        },
        {
            "train": [
                {
                    "archive": "https://x.org/a.tgz",
                    "members": ["a.{lang}", {"en": "x", "de": "y"}],
                    "sha256": CHECKSUM,
                }
            ]
        },
        {"cleaning": {"max_words": 100, "max_ratio": None, "duplicates": "drop"}},
    ],
)
def test_valid_tasks(changes):
    validate(task(**changes), "task", "own.yaml")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sourc": "en"}, "unknown key `sourc`; did you mean `source`"),
        ({"cleaning": {"max_word": 3}}, "cleaning: unknown key `max_word`; did you mean `max_words`"),
        ({"cleaning": {"max_words": "many"}}, 'cleaning.max_words: "many" is of the wrong type'),
        ({"cleaning": {"duplicates": "dropp"}}, 'cleaning.duplicates: "dropp" is not one of keep, drop'),
        ({"train": []}, "train"),
        ({"train": [{"file": "x.{lang}"}]}, "train.0"),
        ({"train": [{"files": "no-language"}]}, "train.0.files"),
        ({"train": [{"files": "x.{lang}", "mtdata": "y"}]}, "train.0"),
        ({"train": [{"archive": "https://x.org/a.tgz"}]}, "train.0"),
        ({"train": [{"files": "x.{lang}", "sha256": CHECKSUM}]}, "train.0.sha256"),
        (
            {"train": [{"archive": "https://x.org/a.tgz", "members": "a.{lang}", "sha256": "12"}]},
            "train.0.sha256",
        ),
        ({"dev": {"held_out": 1}}, "dev.held_out"),
        ({"dev": {"every": 3}}, "dev"),
        ({"test": {"train1": [{"files": "x.{lang}"}]}}, "test"),
        ({"test": {"a.b": [{"files": "x.{lang}"}]}}, "test"),
    ],
)
def test_invalid_tasks_say_where(changes, message):
    with pytest.raises(UserError) as error:
        validate(task(**changes), "task", "own.yaml")
    assert f"own.yaml: {message}" in str(error.value)
    assert all(len(line) < 250 for line in str(error.value).splitlines())
