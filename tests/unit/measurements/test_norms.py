"""Norms of groups and the cuts below which they are dead."""

import json

import numpy as np

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.norms import group_norms

SETTINGS = config.from_settings({"preset": "toy"})


def test_groups_are_counted_below_their_cut_and_a_missing_model_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chains = [chain.parse(f"toy/toy/s{seed}/train-pretrain/lasso-ffn-both-0.5/slice") for seed in (1, 2)]
    for each in chains[0].ancestors():
        paths.model(each).mkdir(parents=True, exist_ok=True)
        paths.manifest(each).write_text(json.dumps({}))
    norms = {
        "fc1": np.array([0.0, 1e-4, 0.3, 0.4]),
        "fc1_cut": np.array(1e-3),
        "out_proj": np.array([0.1, 0.3]),
    }
    np.savez(paths.norms(chains[0]), **norms)
    row = papers.Row("λ = 0.5", "", tuple(chains), {}, False, None, {}, "task", "recipe")
    item = papers.Item(
        "behnke2021", "norms", "histogram", "Title", "Caption.", (), {}, (), (row,), (), None, (), {}
    )
    numbers = group_norms(item, Measured(SETTINGS))
    assert numbers["matrix"].tolist()[:2] == ["fc1", "out_proj"]
    assert numbers["groups"].tolist()[:2] == [4, 2] and numbers["median"].tolist()[:2] == [
        (1e-4 + 0.3) / 2,
        0.2,
    ]
    assert numbers["below"][0] == 2 and numbers["zero"][0] == 1 and np.isnan(numbers["below"][1])
    assert numbers["missing"].tolist() == ["", "", "toy/toy/s2/train-pretrain has not run yet"]
