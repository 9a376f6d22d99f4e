"""Typed views: their attributes are the keys of the schemas, and their defaults are the schemas' own."""

import types
from dataclasses import fields
from typing import Union, get_args, get_origin, get_type_hints

import pytest

from nmtprune.experiment import config, schedule, schemas
from nmtprune.experiment.schedule import PhasedRate, Schedule
from nmtprune.experiment.views import View, key_of

VIEWS = [Schedule, schedule.Optimizer, schedule.PeakRate, schedule.PhasedRate, schedule.Phase]
MERGED = {}  # view -> keys that loading has merged into the others
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
    nullable = "null" in said.get("type", ())
    return nullable or not ("default" in said or key in part.get("required", ()) or key in view.PARTS)


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
    if view is Schedule:
        required = schemas.part("schedule")["required"]
        assert not any(type(None) in members(hints[name]) for name in required)
    for name in names(view):
        key, allowed = key_of(name), members(hints[name])
        said = schemas.part(view.SCHEMA)["properties"][key]
        if key in view.PARTS:
            continue
        if not (view is Schedule and key in required):
            assert (type(None) in allowed) == is_optional(view, key), key
        allowed -= {type(None)}
        if "enum" in said:
            assert allowed == {str}, key
        elif said.get("type") == "array":
            assert [get_origin(each) for each in allowed] == [tuple], key
        elif "type" in said:
            kinds = [said["type"]] if isinstance(said["type"], str) else said["type"]
            assert allowed == {TYPES[kind] for kind in kinds if kind != "null"}, key


@pytest.mark.parametrize("view", [view for view in VIEWS if view is not PhasedRate])
def test_what_is_left_out_has_the_default_of_the_schema(view):
    defaults = schemas.defaults(view.SCHEMA)
    required = set() if view is not Schedule else {"learning_rate": {"phases": []}, "optimizer": {}}
    shown = view.over(required or {})
    for name in names(view):
        key, value = key_of(name), getattr(shown, name)
        if key not in view.PARTS:
            default = defaults.get(key)
            assert value == (tuple(default) if isinstance(default, list) else default), key


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
