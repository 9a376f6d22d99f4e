"""Settings, presets, tasks and recipes: strict, merged, and explained in a sentence."""

import pytest
import yaml

from nmtprune.experiment import chain, config, schemas, slices
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import merge, read_yaml
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest

RUN = config.from_settings({})


@pytest.fixture
def own(tmp_path):
    """Writes files of the user's own and gives the configuration that finds them."""

    def write(kind, name, content, **settings):
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return config.from_settings({"own": str(tmp_path), **settings})

    return write


# what others extend
ABSTRACT = {"transformer", "student", "tiny-student", "toy-student"}


@pytest.mark.parametrize("kind", ["tasks", "presets"])
def test_all_that_is_shipped_is_valid(kind):
    assert RUN.library.names(kind)
    for name in RUN.library.names(kind):
        assert RUN.library.merged(kind, name)["title"]


@pytest.mark.parametrize("name", [name for name in RUN.library.names("recipes") if name not in ABSTRACT])
def test_every_recipe_and_each_of_its_schedules_is_valid(name):
    schedules = RUN.recipe(name).schedules
    assert {"train", "retrain", "rejuvenate", "restart", "continue"} <= set(schedules)
    # two rounds have their control wherever rounds are compared: in Wang et al. 2020, whose models are
    # neither LSTMs nor students of ours
    architecture = RUN.recipe(name).architecture
    assert bool({"continue-peak", "continue-last"} & set(schedules)) == (
        not architecture.name.startswith("nmtprune_") or architecture.sub_layer_drop is not None
    )
    for schedule in schedules:
        assert RUN.schedule(name, schedule).updates > 0


@pytest.mark.parametrize("name", [name for name in RUN.library.names("recipes") if "student-" in name])
def test_every_student_has_the_phases_of_a_lasso(name):
    assert {"train-pretrain", "lasso", "lasso-long", "converge", "finetune"} <= set(
        RUN.recipe(name).schedules
    )
    assert RUN.schedule(name, "train-pretrain").select == RUN.schedule(name, "lasso").select == "last"


def test_what_all_transformers_share_is_no_recipe_by_itself():
    with pytest.raises(UserError, match=r"recipes/paper/transformer\.yaml: the key `schedules` is missing"):
        RUN.recipe("transformer")


def test_the_shipped_settings_are_the_schemas_defaults_and_name_every_key():
    settings = read_yaml(WORKFLOW.parent / "config.yaml")
    assert config.from_settings(settings) == RUN
    assert set(settings) == set(schemas.read("config")["properties"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"presett": "toy"}, r"config: unknown key `presett`; did you mean `preset`\?"),
        ({"preset": 3}, "config: preset: 3 is of the wrong type; expected string"),
        ({"preset": "toi"}, r"unknown preset `toi`; did you mean `toy`\?"),
        ({"seeds": ["one"]}, r'config: seeds\.0: "one" is of the wrong type; expected integer'),
        ({"seeds": [-1]}, r"config: seeds\.0: -1 is less than the minimum"),
        ({"seeds": []}, "config: seeds: "),
        ({"device": "gpu"}, r'config: device: "gpu" is not one of auto, cpu, cuda'),
        ({"chains": "toy/toy/s1/train"}, "config: chains: .* is of the wrong type; expected array"),
        (
            {"imports": {"mine": {"checkpoint": "x"}}},
            r"config: imports\.mine: the key `dictionaries` is missing",
        ),
        (
            {"imports": {"mine": {"marian": "x", "checkpoint": "y"}}},
            r"config: imports\.mine: an import with `marian` has no `checkpoint`",
        ),
        (
            {"imports": {"mine": {"checkpoint": "x", "dictionaries": "y", "target_code": ">>deu<<"}}},
            r"config: imports\.mine: `target_code` is of an import with `marian`",
        ),
        (
            {"imports": {"mine": {"marian": "x", "target_code": "deu"}}},
            r'target_code: "deu" is not of the form',
        ),
        ({"imports": {"mine": {"marian": "x", "vocabulary": "trimmed"}}}, r"is not one of whole, trim"),
    ],
)
def test_wrong_settings(settings, said):
    with pytest.raises(UserError, match=said):
        config.from_settings(settings)


def test_every_mistake_is_told_at_once():
    with pytest.raises(UserError) as error:
        config.from_settings({"presett": "toy", "device": "gpu", "seeds": 1})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("toi/toy/s1/train", r"unknown task `toi`; did you mean `toy`\?"),
        ("toy/tiny-lightcon/s1/train", r"unknown recipe `tiny-lightcon`; did you mean `tiny-lightconv`\?"),
        (
            "toy/toy/s1/train/continue-peek",
            r"recipe `toy` has no schedule `continue-peek`; did you mean `continue-peak`\?",
        ),
        (
            "toy/toy/s1/train/at-50",
            "recipe `toy` keeps snapshots of `train` at 15, 33, 67 percent, not at 50",
        ),
        ("toy/toy/s1/import-mine", r"there is no `mine` under `imports`"),
        ("toy/toy/s1/train/prune-lokal-50", "config: chains: entry 1: .*did you mean `local`"),
    ],
)
def test_own_chains_are_checked(text, said):
    with pytest.raises(UserError, match=said):
        _ = Run(config.from_settings({"chains": [text]})).own.chains


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": {}}, r"recipes/mine.yaml: unknown key `schedule`; did you mean `schedules`\?"),
        (
            {"schedules": {"train": {"update": 3}}},
            r"schedules\.train: unknown key `update`; did you mean `updates`\?",
        ),
        (
            {"schedules": {"train": {"updates": "many"}}},
            r'schedules\.train\.updates: "many" is of the wrong type; expected integer',
        ),
        (
            {"prunable": {"embeddings": "inn"}},
            r'prunable\.embeddings: "inn" is not one of in, out; did you mean `in`\?',
        ),
        ({"subwords": {"type": "sentencepice", "size": 3, "joint": True}}, "did you mean `sentencepiece`"),
        ({"extends": "toi"}, r"extends: unknown recipe `toi`; did you mean `toy`\?"),
        ({"extends": "mine"}, "recipes/mine.yaml: extends: .*itself"),
        ({"architecture": {"name": "transformers"}}, "did you mean `transformer`"),
        (
            {"schedules": {"train": {"learning_rate": {"peak": 1, "decay": "linear"}}}},
            "learning_rate: the key `warm_up` is missing",
        ),
        (
            {"schedules": {"train": {"learning_rate": {"phases": [{"updates": 3, "rte": 1}]}}}},
            r"unknown key `rte`; did you mean `rate`\?",
        ),
    ],
)
def test_wrong_recipes(own, change, said):
    with pytest.raises(UserError, match=said):
        own("recipes", "mine", {"extends": "toy", "title": "Mine", **change}).recipe("mine")


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (
            {"schedule": {}},
            r"recipes/mine.yaml: variants\.narrow: unknown key `schedule`; did you mean `schedules`\?",
        ),
        (
            {"architecture": {"embed_dims": 3}},
            r"variants\.narrow\.architecture: unknown key `embed_dims`; did you mean `embed_dim`\?",
        ),
        ({"title": 3}, r"variants\.narrow\.title: 3 is of the wrong type; expected string"),
        (
            {"extends": "base"},
            r"recipes/mine.yaml: variants\.narrow\.extends: a variant extends the recipe of its file; ",
        ),
        (
            {"variants": {"more": {"title": "More"}}},
            r"recipes/mine.yaml: variants\.narrow\.variants: a variant has no variants; ",
        ),
        (
            {"architecture": {"embed_dim": 65}},
            r"recipes/mine.yaml: variants\.narrow: architecture: embed_dim 65 is not a multiple of heads 4",
        ),
        (
            {"schedules": {"train": {"updates": 3}}},
            r"recipes/mine.yaml: variants\.narrow: schedules\.train: the phases of its learning rate make "
            r"660 updates",
        ),
    ],
)
def test_wrong_variants(own, variant, said):
    run = own(
        "recipes",
        "mine",
        {"extends": "toy", "title": "Mine", "variants": {"narrow": {"title": "Narrow", **variant}}},
    )
    with pytest.raises(UserError, match=said):
        run.schedule("narrow", "train")


def test_a_variant_says_its_title(own):
    with pytest.raises(UserError, match=r"recipes/mine.yaml: variants\.narrow: the key `title` is missing"):
        own("recipes", "mine", {"extends": "toy", "title": "Mine", "variants": {"narrow": {}}}).recipe(
            "narrow"
        )


@pytest.mark.parametrize("variants", [["narrow"], "narrow", {"narrow": 3}])
def test_variants_that_are_no_recipes(own, variants):
    with pytest.raises(
        UserError, match=r"recipes/mine.yaml: variants.*is of the wrong type; expected object"
    ):
        own("recipes", "mine", {"extends": "toy", "title": "Mine", "variants": variants}).recipe("mine")


def test_a_variant_with_a_name_that_cannot_be(own):
    run = own(
        "recipes", "mine", {"extends": "toy", "title": "Mine", "variants": {"so narrow": {"title": "Narrow"}}}
    )
    for name in ("mine", "so narrow"):
        with pytest.raises(
            UserError, match=r"recipes/mine.yaml: variants.*cannot be (a|the) name.*at most 60 letters"
        ):
            run.recipe(name)


CHANGES = {
    "title": "Changed",
    "architecture": {"dropout": 0.3},
    "schedules": {"retrain": {"label_smoothing": 0}},
    "prunable": {"embeddings": "out"},
}


def test_a_variant_is_as_a_file_that_extends_the_recipe_it_stands_in(own):
    own("recipes", "in-file", {"extends": "mine", **CHANGES})
    run = own(
        "recipes",
        "mine",
        {"extends": "toy", "title": "Mine", "decoding": {"beam": 3}, "variants": {"variant": CHANGES}},
    )
    assert run.recipe("variant").said == run.recipe("in-file").said
    assert run.recipe("variant").decoding.beam == 3 and "variants" not in run.recipe("mine").said
    for steps in STEPS:
        variant, in_file = (
            slices.of_step(run, chain.parse(f"toy/{name}/s1/{steps}")) for name in ("variant", "in-file")
        )
        assert variant == in_file


def test_what_extends_a_variant_or_a_recipe_with_variants(own):
    own(
        "recipes",
        "mine",
        {
            "extends": "toy",
            "title": "Mine",
            "variants": {"dropped": {"title": "D", "architecture": {"dropout": 0.3}}},
        },
    )
    run = own(
        "recipes", "deep", {"extends": "dropped", "title": "Deep", "architecture": {"encoder_layers": 3}}
    )
    assert run.recipe("deep").architecture.said == RUN.recipe("toy").architecture.said | {
        "dropout": 0.3,
        "encoder_layers": 3,
    }
    run = own("recipes", "plain", {"extends": "mine", "title": "Plain"})
    assert run.recipe("plain").said == RUN.recipe("toy").said | {"title": "Plain"}


def test_a_recipe_may_not_extend_its_own_variant(own):
    run = own(
        "recipes", "mine", {"extends": "narrow", "title": "Mine", "variants": {"narrow": {"title": "Narrow"}}}
    )
    for name in ("mine", "narrow"):
        with pytest.raises(UserError, match=r"recipes/mine.yaml: (extends|variants\.narrow): .*itself"):
            run.recipe(name)


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        (
            "other",
            {"mine": ["other"], "other": []},
            r"recipes/mine.yaml: variants\.other: there is another recipe `other` in recipes/other.yaml",
        ),
        (
            "a",
            {"mine": ["a"], "other": ["a"]},
            r"recipes/other.yaml: variants\.a: there is another recipe `a` in recipes/mine.yaml",
        ),
        (
            "mine",
            {"mine": ["mine"]},
            r"recipes/mine.yaml: variants\.mine: there is another recipe `mine` in recipes/mine.yaml",
        ),
        (
            "mine",
            {"mine": [], "below/mine": []},
            r"recipes/mine.yaml: there is another recipe `mine` in recipes/below/mine.yaml",
        ),
    ],
)
def test_a_name_that_is_given_twice(tmp_path, name, files, said):
    for file, variants in files.items():
        stated = {
            "extends": "toy",
            "title": "Mine",
            "variants": {variant: {"title": "Variant"} for variant in variants},
        }
        path = tmp_path / "recipes" / f"{file}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(stated))
    with pytest.raises(UserError, match=f"{said}; give one of them another name"):
        config.from_settings({"own": str(tmp_path)}).recipe(name)


def test_recipe_files_in_folders_below(tmp_path):
    folder = tmp_path / "recipes" / "small" / "narrow"
    folder.mkdir(parents=True)
    stated = {
        "extends": "toy",
        "title": "Mine",
        "variants": {"wide": {"title": "Wide", "architecture": {"embed_dim": 65}}},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(stated))
    hidden = tmp_path / "recipes" / ".checkpoints"
    hidden.mkdir()
    (hidden / "mine.yaml").write_text("title: [")
    run = config.from_settings({"own": str(tmp_path)})
    assert run.recipe("mine").said == RUN.recipe("toy").said | {"title": "Mine"} and {"mine", "wide"} <= set(
        run.library.names("recipes")
    )
    with pytest.raises(
        UserError, match=r"recipes/small/narrow/mine.yaml: variants\.wide: architecture: embed_dim 65"
    ):
        run.recipe("wide")


def test_variants_of_ones_own_hide_the_shipped_recipes_of_their_names(own):
    run = own(
        "recipes",
        "mine",
        {
            "extends": "base",
            "title": "Mine",
            "variants": {"toy": {"title": "T"}, "toy-small": {"title": "S"}},
        },
    )
    assert (
        run.recipe("toy").architecture.said
        == run.recipe("toy-small").architecture.said
        == RUN.recipe("base").architecture.said
    )
    # a shipped variant takes from its parent by name, as all that extends does
    assert run.recipe("toy-deep").architecture.said == RUN.recipe("base").architecture.said | {
        "encoder_layers": 3,
        "decoder_layers": 3,
    }


def test_a_file_that_cannot_be_read_may_hold_any_name_that_no_other_file_has(own):
    own("recipes", "broken", "title: [")
    run = own(
        "recipes",
        "mine",
        {"extends": "mine-too", "title": "Mine", "variants": {"narrow": {"title": "Narrow"}}},
    )
    run = own("recipes", "mine-too", {**RUN.recipe("toy").said, "title": "Too"})
    assert run.recipe("narrow").title == "Narrow"
    for name in ("toy", "nowhere"):
        with pytest.raises(UserError, match=r"broken.yaml is not valid YAML"):
            run.recipe(name)


def test_an_unknown_recipe_is_told_with_the_nearest_variant(own):
    run = own(
        "recipes",
        "mine",
        {"extends": "toy", "title": "Mine", "variants": {"mine-narrow": {"title": "Narrow"}}},
    )
    with pytest.raises(UserError, match=r"unknown recipe `mine-narow`; did you mean `mine-narrow`\?"):
        run.recipe("mine-narow")


def test_a_recipe_of_ones_own_may_not_extend_the_one_it_hides(own):
    with pytest.raises(UserError, match=r"recipes/toy.yaml: extends: .*itself"):
        own("recipes", "toy", {"extends": "toy", "title": "Mine"}).recipe("toy")


def test_a_recipe_that_lacks_a_part(own):
    with pytest.raises(UserError, match=r"recipes/mine.yaml: the key `subwords` is missing"):
        own("recipes", "mine", {"title": "Mine"}).recipe("mine")


def test_what_is_not_yaml_or_not_keys_and_values(own):
    with pytest.raises(UserError, match=r"mine.yaml is not valid YAML"):
        own("recipes", "mine", "title: [").recipe("mine")
    with pytest.raises(UserError, match="expected keys and values"):
        own("recipes", "list", "[1, 2]").recipe("list")


def test_a_name_of_ones_own_wins(own):
    task = RUN.task("toy").said | {"title": "Another"}
    assert own("tasks", "toy", task).task("toy").title == "Another"


def test_merge_goes_into_mappings_and_replaces_everything_else():
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(below, {"a": {"c": [3]}, "e": 2}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_a_learning_rate_is_replaced_whole(own):
    rate = {"peak": 1.0e-3, "warm_up": 10, "decay": "constant"}
    run = own(
        "recipes",
        "mine",
        {"extends": "toy", "title": "Mine", "schedules": {"retrain": {"learning_rate": rate}}},
    )
    assert run.schedule("mine", "retrain").learning_rate.said == rate


def test_an_extended_recipe_keeps_what_it_does_not_say():
    small, toy = RUN.recipe("toy-small").said, RUN.recipe("toy").said
    assert small["architecture"] == toy["architecture"] | {"encoder_layers": 1, "decoder_layers": 1}
    assert {**small, "architecture": 0, "title": 0} == {**toy, "architecture": 0, "title": 0}


def test_defaults_are_left_out_of_slices(own):
    """A key that is said, with the value it has anyway, is no other recipe."""
    run = own(
        "recipes",
        "mine",
        {
            "extends": "toy",
            "title": "Mine",
            "training": {"accumulate": 1, "precision": "fp32", "patience": None},
        },
    )
    train = chain.parse("toy/toy/s1/train")
    same = chain.parse("toy/mine/s1/train")
    assert "accumulate" not in slices.of_step(run, train)["schedule"]
    assert slices.of_step(run, same) == slices.of_step(run, train)


STEPS = (
    "train",
    "train/continue",
    "train/prune-local-50",
    "train/prune-local-50/retrain",
    "train/prune-local-50/retrain/rejuvenate-zero",
)


def changed(own, change):
    """The steps of a round whose slices another recipe changes."""
    run = own("recipes", "mine", {"extends": "toy", "title": "Mine", **change})
    return {
        steps.rsplit("/", 1)[-1]
        for steps in STEPS
        if slices.of_step(run, chain.parse(f"toy/mine/s1/{steps}"))
        != slices.of_step(run, chain.parse(f"toy/toy/s1/{steps}"))
    }


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (
            {"schedules": {"rejuvenate": {"learning_rate": {"phases": [{"updates": 330, "rate": 1.0e-4}]}}}},
            {"rejuvenate-zero"},
        ),
        ({"schedules": {"retrain": {"label_smoothing": 0}}}, {"retrain"}),
        ({"prunable": {"embeddings": "out"}}, {"prune-local-50"}),
        ({"architecture": {"heads": 2}}, {"train"}),
        ({"decoding": {"beam": 1}, "title": "Another"}, set()),
        # the rates of all later trainings are parts of the peak
        (
            {
                "schedules": {
                    "train": {"learning_rate": {"peak": 1.0e-3, "warm_up": 9, "decay": "inverse_sqrt"}}
                }
            },
            {"train", "continue", "retrain", "rejuvenate-zero"},
        ),
    ],
)
def test_a_step_depends_on_its_own_part_of_the_recipe(own, change, steps):
    assert changed(own, change) == steps


def test_the_seed_is_the_roots():
    one, two = (slices.of_step(RUN, chain.parse(f"toy/toy/s{seed}/train")) for seed in (1, 2))
    assert digest(one) != digest(two)
    one, two = (slices.of_step(RUN, chain.parse(f"toy/toy/s{seed}/train/continue")) for seed in (1, 2))
    assert digest(one) == digest(two)


def test_overrides_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("preset: toy\nseeds: [3]\n")
    (tmp_path / "other.yaml").write_text("preset: multi30k\n")
    loaded = config.load([tmp_path / "other.yaml"], ["papers=[wang2020/table2]", "device=cpu"])
    assert (loaded.settings["preset"], loaded.seeds, loaded.settings["device"]) == ("multi30k", [3], "cpu")
    assert loaded.settings["papers"] == ["wang2020/table2"]
    assert config.load().as_arguments(("preset", "seeds")) == ""
    assert (
        loaded.as_arguments(("preset", "seeds", "papers"))
        == "--set 'preset=\"multi30k\"' --set 'papers=[\"wang2020/table2\"]'"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [("papers", "expected key=value"), ("papers=[", "not valid YAML"), ("paper=1", "did you mean `papers`")],
)
def test_wrong_overrides(tmp_path, monkeypatch, override, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        config.load(overrides=[override])


def test_a_configuration_that_is_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("- preset: toy\n")
    with pytest.raises(UserError, match=r"config.yaml.*keys and values"):
        config.load()


def test_depth_is_said(own):
    """Without it, fairseq's default would be built, and weight classes would be unknown before."""
    settings = {key: RUN.recipe("toy").said[key] for key in ("subwords", "prunable", "schedules")}
    mine = {"title": "Mine", **settings, "architecture": {"name": "transformer", "encoder_layers": 2}}
    with pytest.raises(
        UserError, match=r"recipes/mine\.yaml: architecture: the key `decoder_layers` is missing"
    ):
        own("recipes", "mine", mine).recipe("mine")


def test_a_recipe_without_it_can_be_continued_for_a_fifth_of_its_updates():
    of_base = RUN.schedule("base", "continue-short")
    assert "continue-short" not in RUN.recipe("base").schedules
    assert (of_base.updates, of_base.learning_rate.phases[0].rate) == (
        20_000,
        pytest.approx(7e-4 * 0.2),
    )
    assert RUN.schedule("tiny-6-6", "continue-short").validate_every == 100  # its own


@pytest.mark.parametrize("recipe", ["base", "base-32k", "tiny-6-6", "small-6-6", "toy-deep"])
def test_a_cut_model_is_trained_as_long_as_one_that_is_continued(recipe):
    assert "cut" not in RUN.recipe(recipe).schedules
    assert RUN.schedule(recipe, "cut") == RUN.schedule(recipe, "continue-short")


def test_late_rewinding_trains_by_the_rest_of_the_schedule_of_a_restart():
    whole, rest = (RUN.schedule("base-32k", name) for name in ("train", "restart-at-4"))
    assert (rest.updates, rest.learning_rate.begin) == (96_000, 4000)
    assert rest.altered(updates=100_000, learning_rate=whole.said["learning_rate"]) == whole.altered(
        snapshots=[]
    )
