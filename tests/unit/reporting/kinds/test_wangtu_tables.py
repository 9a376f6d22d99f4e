"""Tables 1 and 2 of Wang and Tu 2020 from made-up analyses; no number in this file was measured."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.measurements import similarity as measured_similarity
from nmtprune.measurements.isometry import published_values
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.kinds import isometry, make

COMPONENTS = [f"{kind}.{layer}" for kind in ("E.SA", "E.FF", "D.SA", "D.EA", "D.FF") for layer in (1, 2)]
PUBLISHED = {"Important": "0.54", "Unimportant": "0.42"}
PRINTED = {"6 E:SA": "1.44", "2 E:SA": "1.45", "1 E:SA": "1.71", "2 D:EA": "0.15", "1 D:EA": "0.15"}
HEADINGS = {"label": "Components"}


def item(kind, published=(PUBLISHED, {}), seeds=(1,)):
    models = {"En-De": "toy/toy", "En-Fr": "toy-reversed/toy"}
    rows = [
        papers.Row(
            label,
            "",
            tuple(chain.parse(f"{models[label]}/s{seed}/train") for seed in seeds),
            printed,
            False,
            None,
            {},
            "x",
            "base",
        )
        for label, printed in zip(models, published, strict=True)
    ]
    return papers.Item(
        "wangtu2020", "table", kind, "Title", "Caption.", (), HEADINGS, (), tuple(rows), (), None, (), {}
    )


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = config.Config.recipe

    def with_groups_of_two(self, name):
        recipe = plain(self, name)
        return recipe.altered(importance={**recipe.importance.said, "group": 2})

    monkeypatch.setattr(config.Config, "recipe", with_groups_of_two)
    return Measured(config.from_settings({"preset": "toy"}))


def trained(model):
    paths.manifest(model).parent.mkdir(parents=True, exist_ok=True)
    paths.manifest(model).write_text(json.dumps({"updates": 10}))


def parts(component):
    kind, _, layer = component.rpartition(".")
    return {"component": component, "kind": kind, "layer": int(layer)}


def pretend_similar(model, shift=0.0, without=()):
    """D.FF are the most important ones at one BLEU each; D.SA are ablated first.

    D.FF.2 has the larger drop.
    """
    trained(model)
    similar = [
        {**parts(each), "pwcca": 0.1 + shift + 0.08 * place, "positions": 100}
        for place, each in enumerate(COMPONENTS)
    ]
    contributed = [{"component": "none", "contribution": math.nan, "drop": math.nan}]
    for place, each in enumerate(COMPONENTS):
        top = each.startswith("D.FF")
        contributed.append(
            {
                **parts(each),
                "contribution": 1 if top else place / 20,
                "drop": 5 + place if top else place / 10,
            }
        )
    removed = ["D.SA.2", "D.SA.1", "E.FF.2"]
    order = [
        {"method": "iterative", "number": number, "component": each}
        for number, each in enumerate([math.nan, *removed])
    ]
    order += [
        {"method": "one-shot", "number": number, "component": each}
        for number, each in enumerate([math.nan, "E.SA.1", "E.SA.2"])
    ]
    for name, rows in {"similarity": similar, "contribution": contributed, "order": order}.items():
        if name not in without:
            pd.DataFrame(rows).to_csv(paths.analysis(model, name), index=False)


def pretend_isometry(model, values, sd=0.01):
    """`values`: by place (`initial`, `trained`), residual and component."""
    trained(model)
    rows = [
        {
            **parts(component),
            "at": at,
            "reach": "position",
            "residual": residual,
            "mean_singular_value": value,
            "sd": sd,
            "positions": 16,
        }
        for (at, residual, component), value in values.items()
    ]
    pd.DataFrame(rows).to_csv(paths.analysis(model, "isometry"), index=False)


def uniform(**by_variant):
    """The same value for all components, by variant: `initial0`, `trained1`, ..."""
    return {
        (name[:-1], int(name[-1]), component): value
        for name, value in by_variant.items()
        for component in COMPONENTS
    }


# Table 1


def test_the_groups_are_the_top_contributions_and_the_first_to_go(measured):
    whole = item("similarity")
    pretend_similar(whole.rows[0].chains[0])
    found = make(whole, measured)
    numbers = found.numbers[found.numbers["label"] == "En-De"].set_index("group")
    assert numbers["components"].to_dict() == {"Important": "D.FF.2 D.FF.1", "Unimportant": "D.SA.2 D.SA.1"}
    # places 9 and 8, and 5 and 4
    assert numbers["pwcca"].to_dict() == pytest.approx(
        {"Important": 0.1 + 0.08 * 8.5, "Unimportant": 0.1 + 0.08 * 4.5}
    )
    assert numbers["difference"].tolist() == pytest.approx([0.32, 0.32])
    assert numbers["pwcca_published"].tolist() == [0.54, 0.42]
    assert found.table.headings == ["Components", "En-De", "En-De, published", "En-Fr", "En-Fr, published"]
    assert found.table.kinds == ["name", "ours", "published", "ours", "published"]


def test_what_is_missing_is_told_and_is_no_zero(measured):
    whole = item("similarity")
    pretend_similar(whole.rows[0].chains[0], without=("order",))
    found = make(whole, measured)
    assert found.table.cells == [
        ["Important", "– (a)", "0.54", "– (b)", ""],
        ["Unimportant", "– (a)", "0.42", "– (b)", ""],
    ]
    assert found.footnotes == [
        "(a) toy/toy/s1/train has no order yet.",
        "(b) toy-reversed/toy/s1/train has not run yet.",
    ]
    assert found.numbers["pwcca"].isna().all() and found.sentences == []


def test_seeds_are_averaged_with_their_deviation(measured):
    whole = item("similarity", seeds=(1, 2))
    for model, shift in zip(whole.rows[0].chains, (0, 0.1), strict=True):
        pretend_similar(model, shift)
    found = make(whole, measured)
    assert found.table.cells[0][1] == "0.83 ± 0.07"
    assert found.numbers["seeds"].tolist()[:1] == [2]


def test_a_seed_that_is_missing_leaves_the_others_and_is_told(measured):
    whole = item("similarity", seeds=(1, 2))
    pretend_similar(whole.rows[0].chains[0])
    found = make(whole, measured)
    assert found.table.cells[0][1] == "0.78 (a)"
    assert found.footnotes[0] == "(a) toy/toy/s2/train has not run yet."


def similar(values, important, unimportant):
    names = [str(place) for place in range(len(values))]
    groups = dict(
        zip(
            measured_similarity.GROUPS,
            ([names[place] for place in each] for each in (important, unimportant)),
            strict=True,
        )
    )
    return measured_similarity.Similar(pd.Series(values, names), groups)


def test_the_p_value_is_that_of_all_choices():
    """There are 6 * 1 ways to choose 2 and 2 of 4 components, 2 of which differ as much: p = 1/3.

    The difference is (4 + 3) - (1 + 2).
    """
    difference, p = measured_similarity.permutation([similar([1.0, 2, 3, 4], [2, 3], [0, 1])])
    assert difference == pytest.approx(2) and p == pytest.approx(1 / 3, abs=0.02)


def test_groups_of_equal_similarity_do_not_differ():
    assert measured_similarity.permutation([similar([1.0, 1, 1, 1], [2, 3], [0, 1])]) == (0, 1)


def test_a_large_difference_over_many_components_is_no_chance():
    values = [float(place) for place in range(30)]
    difference, p = measured_similarity.permutation([similar(values, range(23, 30), range(7))])
    assert difference == 23 and p < 0.001


def test_overlapping_groups_differ_by_what_they_do_not_share():
    difference, _ = measured_similarity.permutation([similar([1.0, 2, 3], [1, 2], [0, 1])])
    assert difference == 1


def test_the_sentences_name_groups_difference_and_p(measured):
    whole = item("similarity")
    pretend_similar(whole.rows[0].chains[0])
    first, last = make(whole, measured).sentences
    assert first.startswith(
        "En-De: important D.FF.2 D.FF.1; unimportant D.SA.2 D.SA.1; difference +0.32, p = 0."
    )
    assert last == "p: how often components drawn at random differ as much, two-sided (10,000 permutations)."


# Table 2


def test_layers_run_from_the_top_in_a_block_each_way(measured):
    whole = item("isometry", ({}, {}))
    for row in whole.rows:
        pretend_isometry(row.chains[0], uniform(initial0=0.2, initial1=1.0, trained0=0.5, trained1=1.2))
    found = make(whole, measured)
    assert (
        found.table.headings[:4] == ["", "Components", "En-De E:SA", "En-De E:FF"]
        and len(found.table.headings) == 12
    )
    assert [line[:2] for line in found.table.cells] == [
        [f"{at}, {way} the residual", str(layer)]
        for at in ("At initialisation", "Trained")
        for way in ("without", "with")
        for layer in (2, 1)
    ]
    assert found.table.cells[0][2:] == ["0.20"] * 10 and found.table.cells[-1][2:] == ["1.20"] * 10
    assert found.table.ruled == {2, 4, 6} and found.footnotes == [] and found.sentences == []


def test_published_values_are_a_block_of_their_own_and_the_nearest_way_is_computed(measured):
    whole = item("isometry", (PRINTED, {}))
    close = {("trained", 1, component): 1.5 if "SA" in component else 0.15 for component in COMPONENTS}
    pretend_isometry(whole.rows[0].chains[0], uniform(initial0=9.0, initial1=3.0, trained0=0.01) | close)
    found = make(whole, measured)
    assert [line[:3] for line in found.table.cells[:3]] == [
        ["Published", "6", "1.44"],
        ["Published", "2", "1.45"],
        ["Published", "1", "1.71"],
    ]
    # over E.SA.1, E.SA.2, D.EA.1 and D.EA.2: the model has no layer 6
    off = np.mean([math.log(1.71 / 1.5), math.log(1.5 / 1.45), 0, 0])
    assert found.sentences[0].startswith(
        f"Nearest to the published values are those trained, with the residual ({off:.2f}); then at init"
    )
    assert found.sentences[0].endswith("over 4 components, layers counted from the bottom.")


def test_another_way_is_nearest_where_the_numbers_say_so(measured):
    whole = item("isometry", (PRINTED, {}))
    exact = {("initial", 0, component): 1.45 if "SA" in component else 0.15 for component in COMPONENTS}
    pretend_isometry(whole.rows[0].chains[0], uniform(initial1=9.0, trained0=3.0, trained1=0.01) | exact)
    assert "are those at initialisation, without the residual (0.04)" in make(whole, measured).sentences[0]


def test_an_imported_model_has_no_initialisation_and_that_is_told(measured):
    whole = item("isometry", (PRINTED, {}))
    pretend_isometry(whole.rows[0].chains[0], uniform(trained0=0.5, trained1=1.2))
    found = make(whole, measured)
    initial = next(
        line for line in found.table.cells if line[:2] == ["At initialisation, without the residual", "1"]
    )
    assert initial[2] == "– (a)"
    assert (
        found.footnotes[0]
        == "(a) toy/toy/s1/train begins with an imported model, whose first weights are not known."
    )
    assert "are those trained, with the residual" in found.sentences[0]


def test_a_layer_that_only_the_print_has_is_told(measured):
    whole = item("isometry", (PRINTED, {}))
    pretend_isometry(whole.rows[0].chains[0], uniform(initial0=0.2, initial1=1.0, trained0=0.5, trained1=1.2))
    assert make(whole, measured).footnotes[0] == "(a) toy/toy/s1/train has no such component."


def test_nothing_measured_and_nothing_printed_is_told(measured):
    found = make(item("isometry", ({}, {})), measured)
    assert found.table.cells == []
    assert found.footnotes == [
        "(a) toy/toy/s1/train has not run yet.",
        "(b) toy-reversed/toy/s1/train has not run yet.",
    ]
    assert found.numbers["mean_singular_value"].isna().all() and found.sentences == []


def test_seeds_of_isometry_are_averaged(measured):
    whole = item("isometry", ({}, {}), seeds=(1, 2))
    for model, value in zip(whole.rows[0].chains, (0.4, 0.6), strict=True):
        pretend_isometry(model, uniform(initial0=value, initial1=1.0, trained0=0.5, trained1=1.2))
    found = make(whole, measured)
    assert found.table.cells[0][2] == "0.50 ± 0.14"


def test_small_singular_values_keep_two_digits():
    assert [isometry._number(value) for value in (1.444, 0.104, 0.0194, 0.00037, math.nan)] == [
        "1.44",
        "0.10",
        "0.019",
        "0.00037",
        "",
    ]


def test_published_values_are_read_by_layer_and_kind():
    row = item("isometry", (PRINTED, {})).rows[0]
    assert published_values(row)["D.EA", 2] == 0.15 and len(published_values(row)) == 5
