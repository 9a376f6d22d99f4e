"""The run: its parts agree with each other, and each is resolved once."""

import functools
from collections import Counter

import pytest

from nmtprune.experiment import config, papers, paths
from nmtprune.experiment.run import Run, with_teachers

PRESETS = ("toy", "multi30k", "paper")


@functools.cache
def run(preset):
    return Run(config.from_settings({"preset": preset}))


def test_each_table_and_figure_is_resolved_once_however_often_it_is_asked_for(monkeypatch):
    resolved, item = Counter(), papers.item

    def counted(settings, paper, name):
        resolved[paper, name] += 1
        return item(settings, paper, name)

    monkeypatch.setattr(papers, "item", counted)
    fresh = Run(config.from_settings({"preset": "toy"}))
    assert fresh.items is fresh.items and fresh.chains is fresh.chains
    assert fresh.outputs and fresh.files_read and fresh.speed_groups and fresh.headline_models
    assert resolved == Counter(fresh.selected)


@pytest.mark.parametrize("preset", PRESETS)
def test_models_are_the_chains_with_all_that_they_begin_with(preset):
    of_run = run(preset)
    assert set(of_run.scored) <= set(of_run.chains) <= set(of_run.models)
    assert {model.parent for model in of_run.models} - {None} <= set(of_run.models)
    assert set(of_run.chains) == with_teachers(of_run.config, of_run.chains)
    assert list(of_run.models) == sorted(set(of_run.models), key=str)


@pytest.mark.parametrize("preset", PRESETS)
def test_each_scored_chain_that_only_selects_is_a_variant_of_its_parent(preset):
    variants = run(preset).variants
    assert all(each.parent == parent for parent, group in variants.items() for each in group)
    selecting = [each for each in run(preset).scored if each.last.kind.selects]
    assert Counter(each for group in variants.values() for each in group) == Counter(selecting)


@pytest.mark.parametrize("preset", PRESETS)
def test_scores_that_are_read_are_those_of_scored_chains(preset):
    scores = {file for file in run(preset).files_read if file.name in (paths.SCORES, paths.VARIANTS)}
    assert scores == {paths.scores(each) for each in run(preset).scored}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_anchor_of_a_speed_group_is_a_baseline(preset):
    baselines = {row.first for item in run(preset).items for row in item.rows if row.baseline}
    assert run(preset).speed_groups
    assert all(group[0] in baselines for group in run(preset).speed_groups.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_file_that_a_report_shows_is_an_output(preset):
    assert {file for file, _ in run(preset).report_entries} <= set(run(preset).outputs)
