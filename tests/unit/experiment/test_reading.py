"""Reading YAML: the core schema, keys as text, no repeated keys; layers are merged before validation."""

import json
import shlex

import pytest

from nmtprune.experiment import config, reading
from nmtprune.experiment.library import WORKFLOW
from nmtprune.foundation.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("[true, False, null, ~, '']", [True, False, None, None, ""]),
        ("[1e-4, 1.0e-4, .5, 2., -3, 010, 0x1f, 10_000]", [1e-4, 1e-4, 0.5, 2.0, -3, 10, 31, 10000]),
        ("[2016-01-01, 1:30, .inf, .nan]", ["2016-01-01", "1:30", ".inf", ".nan"]),
        ("{2016: a, 0.5: b, null: c, no: d}", {"2016": "a", "0.5": "b", "null": "c", "no": "d"}),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, c: 3}}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("", None),
    ],
)
def test_values(text, value):
    read = reading.read_value(text, "here")
    assert read == value and repr(read) == repr(value)  # 1 is not True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: 1, b: {c: 1, c: 2}}", "the key `c` is written twice, line 1, column 18"),
        ("{2016: 1, 2016: 2}", "the key `2016` is written twice"),
        ("{[a]: 1}", "a key that is not text"),
        ('"a\\0b"', "a control character in a value"),
        ('{"a\\nb": 1}', "a control character in a key"),
        ("9" * 19, "a number of 19 digits"),
        ("1e999", "a number that is not finite"),
        ("&a [*a]", "recursive"),
        ("!!python/name:os.system x", "could not determine a constructor"),
        ("[" * 100_000, "is not valid YAML"),
        ("{<<: {[a]: 1}}", "a key that is not text"),
    ],
)
def test_what_no_setting_can_mean(text, said):
    with pytest.raises(UserError) as error:
        reading.read_value(text, "here")
    assert str(error.value).startswith("here is not valid YAML") and said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n", "expected keys and values"),
        (b"a\n", "expected keys and values"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"a: \xfc", "not UTF-8"),
    ],
)
def test_files_that_are_no_settings(tmp_path, content, said):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(UserError, match=said):
        reading.read_yaml(tmp_path / "a.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        reading.read_yaml(tmp_path)


def test_a_mark_of_utf8_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfpreset: toy\n")
    assert reading.read_yaml(tmp_path / "a.yaml") == {"preset": "toy"}


def test_all_that_is_shipped_has_the_values_that_pyyaml_reads():
    """Identities are digests of these values: another reading would be another model."""
    import yaml

    def as_text(value):
        if isinstance(value, dict):
            return {str(key): as_text(below) for key, below in value.items()}
        return [as_text(below) for below in value] if isinstance(value, list) else value

    files = list(WORKFLOW.rglob("*.yaml"))
    assert len(files) > 100
    for file in files:
        theirs = yaml.load(
            file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        assert repr(reading.read_yaml(file)) == repr(as_text(theirs)), file


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_of_the_command_line(here):
    run = config.load(
        overrides=["check_space=false", "papers=null", "seeds=[1, 2]", "shards=2", "chains=[]", "data_dir="]
    )
    assert [run.settings[key] for key in ("check_space", "papers", "shards", "data_dir")] == [
        False,
        None,
        2,
        None,
    ]
    assert run.seeds == [1, 2] and config.load(overrides=["seeds=null"]).settings["seeds"] is None


@pytest.mark.parametrize("value", ["2.0", "true", "two", "[2]", "", "1e30", "9" * 40])
def test_what_is_no_whole_number(here, value):
    with pytest.raises(UserError, match=r"shards") as error:
        config.load(overrides=[f"shards={value}"])
    assert len(str(error.value).splitlines()) == 1


def test_layers_are_merged_before_they_are_checked(here):
    (here / "data").mkdir()
    (here / "config.yaml").write_text(
        "data_dir: gone\nshards: many\nimports: {a: {checkpoint: x, dictionaries: y}}\n"
    )
    (here / "more.yaml").write_text("own: gone\nimports: {b: {checkpoint: x, dictionaries: y}}\n")
    with pytest.raises(UserError, match="shards"):
        config.load()
    run = config.load(
        [here / "more.yaml"], ["data_dir=data", "shards=2", "own=null", "imports={a: {checkpoint: z}}"]
    )
    assert run.settings["data_dir"] == "data" and run.settings["imports"] == {
        "a": {"checkpoint": "z", "dictionaries": "y"},
        "b": {"checkpoint": "x", "dictionaries": "y"},
    }
    # and what differs from config.yaml reaches the jobs, whatever config.yaml says
    assert "data_dir=" in run.as_arguments()


@pytest.mark.parametrize(
    "path",
    [
        "a b",
        "a'b",
        'a"b',
        "a;b",
        "a&b",
        "$(touch x)",
        "`x`",
        "{x}",
        "{",
        "#x",
        "-x",
        "ü漢🙂",
        "a\\b",
        "%s",
        "*",
    ],
)
def test_a_path_reaches_a_job_as_it_is(here, path):
    """Through JSON, the shell and YAML."""
    (here / path).mkdir()
    line = config.from_settings({"data_dir": path}).as_arguments(("data_dir",))
    words = shlex.split(line)
    assert words[0] == "--set" and config.load(overrides=[words[1]]).settings["data_dir"] == path


BAD_NAMES = [
    "my corpus",
    "a'b",
    'a"b',
    "a;b",
    "a&b",
    "$x",
    "(x)",
    "-x",
    ".x",
    "..",
    "#x",
    "{x}",
    "a*b",
    "a:b",
    "a,b",
    "x" * 61,
    "a\\b",
    "~x",
    "a\u2028b",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["tasks", "recipes", "presets"])
def test_names_that_no_folder_and_no_shell_line_can_have(here, kind, name):
    (here / "own" / kind).mkdir(parents=True)
    (here / "own" / kind / f"{name}.yaml").write_text("title: Mine\n")
    with pytest.raises(
        UserError, match=rf"cannot be the name of a {kind[:-1]}: a name has at most 60 letters, digits"
    ) as error:
        if kind == "presets":
            _ = config.from_settings({"own": "own", "preset": name}).preset
        else:
            config.from_settings({"own": "own"}).library.merged(kind, name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name not in ("..", ".x")])
def test_names_of_schedules(here, name):
    (here / "own" / "recipes").mkdir(parents=True)
    mine = {
        "extends": "toy",
        "title": "Mine",
        "schedules": {f"train-{name}" if name != "-x" else name: {"updates": 3}},
    }
    (here / "own" / "recipes" / "mine.yaml").write_text(json.dumps(mine, ensure_ascii=False))
    with pytest.raises(UserError, match=r"recipes/mine\.yaml"):
        config.from_settings({"own": "own"}).recipe("mine")


@pytest.mark.parametrize(
    ("kind", "name"), [("presets", "models"), ("presets", "data"), ("tasks", "downloads")]
)
def test_names_of_the_folders_of_all_runs(here, kind, name):
    (here / "own" / kind).mkdir(parents=True)
    (here / "own" / kind / f"{name}.yaml").write_text("title: Mine\n")
    with pytest.raises(UserError, match=f"cannot be called `{name}`"):
        config.from_settings({"own": "own"}).library.merged(kind, name)


@pytest.mark.parametrize("name", ["mine", "wmt14-en-de", "a.b_c+d", "2016", "_x", "漢字", "Übersetzung"])
def test_good_names(here, name):
    (here / "own" / "tasks").mkdir(parents=True)
    (here / "own" / "tasks" / f"{name}.yaml").write_text("{title: Mine, extends: toy}")
    assert config.from_settings({"own": "own"}).task(name).source == "src"


@pytest.mark.parametrize("key", ["own", "data_dir"])
def test_a_path_that_is_too_long_for_any_system(here, key):
    with pytest.raises(UserError, match=f"config: {key}: there is no folder x+"):
        config.load(overrides=[f"{key}={'x' * 5000}"])
