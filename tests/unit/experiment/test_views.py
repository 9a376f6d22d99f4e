"""Typed views: their attributes are the keys of the schemas, and their defaults are the schemas' own."""

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Union, get_args, get_origin, get_type_hints

import pytest

from nmtprune.experiment import config, recipe, schedule, schemas, task
from nmtprune.experiment.architecture import Architecture
from nmtprune.experiment.imports import Import
from nmtprune.experiment.preset import Preset
from nmtprune.experiment.recipe import Recipe
from nmtprune.experiment.schedule import PhasedRate, Schedule
from nmtprune.experiment.search import Search
from nmtprune.experiment.task import Task
from nmtprune.experiment.views import View, key_of

VIEWS = [
    *(Schedule, schedule.Optimizer, schedule.PeakRate, schedule.PhasedRate, schedule.Phase),
    *(Recipe, Architecture, recipe.Prunable, recipe.Decoding, recipe.Lasso, recipe.Importance),
    Preset,
    Import,
    *(Task, task.Sample, task.Cleaning, task.Distilled, task.Probing),
]
MERGED = {Recipe: {"extends", "variants"}, Task: {"extends"}}  # keys that loading has merged into the others
REQUIRED = {  # keys that a schema leaves optional, since a recipe may have them from another one
    Schedule: set(schemas.part("schedule")["required"]),
    Recipe: set(recipe.NEEDED),
    Architecture: {"name", "encoder_layers", "decoder_layers"},
    Task: {"title", "source", "target", "train", "dev", "test"},
}
UNTYPED = {Task: {"source", "target", "train", "dev"}, schedule.Phase: {"rate"}}  # which refer to others
TYPES = {"integer": int, "number": float, "string": str, "boolean": bool}


def names(view):
    return [each.name for each in fields(view) if each.name != "said"]


def members(annotation):
    """The types that an annotation allows."""
    union = get_origin(annotation) in (Union, types.UnionType)
    return set(get_args(annotation)) if union else {annotation}


def is_optional(view, key):
    """Whether an attribute may be None: its key may be null, or may be left out and has no default."""
    part = schemas.part(view.SCHEMA)
    said = part["properties"][key]
    required = key in part.get("required", ()) or key in REQUIRED.get(view, ())
    return "null" in said.get("type", ()) or not ("default" in said or required)


def test_all_views_are_looked_at():
    def below(view):
        return {view, *(each for child in view.__subclasses__() for each in below(child))}

    assert below(View) - {View} == set(VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_attributes_are_the_keys_of_the_schema(view):
    assert {key_of(name) for name in names(view)} | MERGED.get(view, set()) == set(
        schemas.part(view.SCHEMA)["properties"]
    )


@pytest.mark.parametrize("view", VIEWS)
def test_attributes_have_the_types_of_the_schema(view):
    hints = get_type_hints(view)
    for name in names(view):
        key, allowed = key_of(name), members(hints[name])
        said = schemas.part(view.SCHEMA)["properties"][key]
        if key in view.PARTS or key in UNTYPED.get(view, ()):
            continue
        assert (type(None) in allowed) == is_optional(view, key), key
        allowed -= {type(None)}
        kinds = [said["type"]] if isinstance(said.get("type"), str) else said.get("type", ())
        if "enum" in said:
            assert allowed == {str}, key
        elif "array" in kinds:
            assert [get_origin(each) for each in allowed] == [tuple], key
        elif not set(kinds) <= {*TYPES, "null"} or not kinds:
            assert [get_origin(each) for each in allowed] == [Mapping] or allowed == {float}, key
        else:
            assert allowed == {TYPES[kind] for kind in kinds if kind != "null"}, key


LEAST = {  # what a view needs to be laid over it
    Schedule: {"learning_rate": {"phases": []}, "optimizer": {}},
    PhasedRate: {"phases": []},
}


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_left_out_has_the_default_of_the_schema(view):
    defaults, shown = schemas.defaults(view.SCHEMA), view.over(LEAST.get(view))
    for name in names(view):
        key, value = key_of(name), getattr(shown, name)
        if key not in view.PARTS:
            default = defaults.get(key)
            assert value == (tuple(default) if isinstance(default, list) else default), key


def test_a_recipe_measures_importance_with_the_beam_that_it_translates_with():
    assert Recipe.over({"decoding": {"beam": 3}}).importance.beam == 3
    assert Recipe.over({"decoding": {"beam": 3}, "importance": {"beam": 2}}).importance.beam == 2
    assert Recipe.over({}).importance.beam == Search().beam == 5


def test_a_recipe_without_decoding_is_searched_as_fairseq_does():
    assert Recipe.over({}).decoding.search == Search()


def test_what_a_schedule_says_leaves_defaults_out():
    run = config.from_settings({"preset": "toy"})
    said, whole = run.schedule("toy", "train").said, run.schedule("toy", "train").whole
    defaults = schemas.defaults(Schedule.SCHEMA)
    assert whole == {**defaults, **said} and not any(said.get(key, ()) == defaults[key] for key in defaults)


def test_altered_keys_show_in_attributes_and_in_what_is_said():
    train = config.from_settings({}).schedule("toy", "train")
    longer = train.altered(updates=train.updates + 1)
    assert longer.updates == longer.said["updates"] == train.updates + 1
    assert longer != train and longer.altered(updates=train.updates) == train
