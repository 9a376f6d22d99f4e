"""Nothing frozen has changed: identities, jobs and numbers of tables.

See freeze.py for what is frozen and how to freeze it anew.
"""

import csv
import io
import json
import math

import pytest
from golden import freeze

TOLERANCE = 1e-9  # relative, of numbers: libraries add in another order on another processor


@pytest.fixture(scope="module")
def frozen():
    return {kind: freeze.read(kind) for kind in freeze.KINDS}


def differences(before, now, where=""):
    """Sentences: where two values of JSON differ; numbers, also in text, are equal within TOLERANCE."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            place = f"{where}: {key}" if where else key
            if key not in now:
                yield f"{place}: is gone"
            elif key not in before:
                yield f"{place}: is new"
            else:
                yield from differences(before[key], now[key], place)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True), 1):
            yield from differences(*pair, f"{where}: {number}")
    elif before != now and not equal_numbers(before, now):
        yield f"{where}: was {json.dumps(before)[:300]}, is {json.dumps(now)[:300]}"


def equal_numbers(before, now):
    try:
        return math.isclose(float(before), float(now), rel_tol=TOLERANCE)
    except (TypeError, ValueError):
        return False


def same(before, now):
    found = list(differences(before, now))
    assert not found, "\n".join([f"{len(found)} differences, the first ones:", *found[:20]])


@pytest.mark.parametrize("preset", freeze.PRESETS)
def test_identities_and_settings_of_scores_stay(frozen, preset):
    same(frozen["identities"][preset], freeze.identities(preset))


@pytest.mark.parametrize("preset", freeze.PRESETS)
def test_jobs_have_the_same_inputs_outputs_and_params(frozen, preset):
    same(frozen["jobs"][preset], freeze.jobs(preset))


@pytest.mark.parametrize("preset", freeze.RENDERED)
def test_numbers_of_tables_figures_captions_and_claims_stay(frozen, preset):
    before, now = frozen["tables"][preset], freeze.tables(preset)
    same(
        {key: as_rows(item) for key, item in before["items"].items()},
        {key: as_rows(item) for key, item in now["items"].items()},
    )
    same(before["claims"], now["claims"])
    same(before["plateaus"], now["plateaus"])


def as_rows(item):
    """An item whose CSV is read: cells by row and column.

    What says in words that something is missing counts as missing.
    """
    rows = list(csv.DictReader(io.StringIO(item["csv"])))
    return {
        **item,
        "csv": [
            {name: bool(cell) if name == "missing" else cell for name, cell in row.items()} for row in rows
        ],
    }


def test_frozen_pages_have_every_kind_of_figure_and_claims_of_every_paper(frozen):
    from nmtprune.experiment import papers
    from nmtprune.experiment.item_kinds import ITEM_KINDS
    from nmtprune.experiment.run import Run

    items = {
        item.key: item
        for preset in freeze.RENDERED
        for item in Run(freeze.run_of(preset, **freeze.RENDERED[preset])).items
    }
    assert {item.kind for item in items.values()} == set(ITEM_KINDS)
    claimed = {
        key.partition("/")[0] for preset in freeze.RENDERED for key in frozen["tables"][preset]["claims"]
    }
    assert claimed == set(papers.names())


def test_a_change_is_told_with_its_place():
    before = {"toy": {"models": {"toy/toy/s1/train": {"seed": 1, "rates": [0.5, 0.25]}}}}
    now = {
        "toy": {"models": {"toy/toy/s1/train": {"seed": 1, "rates": [0.5, 0.125]}, "toy/toy/s2/train": {}}}
    }
    assert list(differences(before, now)) == [
        "toy: models: toy/toy/s1/train: rates: 2: was 0.25, is 0.125",
        "toy: models: toy/toy/s2/train: is new",
    ]
    assert not list(differences({"a": "0.30000000000000004", "b": ["x"]}, {"a": "0.3", "b": ["x"]}))
