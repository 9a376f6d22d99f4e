"""Parts of a job are timed on a model that stays as it is."""

import pytest
import torch
from support.workplace import Workplace

from nmtprune.experiment import chain
from nmtprune.fairseq_bridge import session
from nmtprune.planning import measuring


@pytest.mark.parametrize("recipe", ["micro", "micro-lstm"])
def test_timed_updates_move_no_weight_so_that_none_diverges(tmp_path, monkeypatch, recipe):
    started = []

    def start(cfg, seed):
        trainer = plain_start(cfg, seed)
        started.append((trainer, {name: tensor.clone() for name, tensor in session.weights(trainer).items()}))
        return trainer

    plain_start = session.start
    monkeypatch.setattr(session, "start", start)
    config = Workplace(tmp_path / "run", preset="micro-papers").config
    found = measuring.measure(config, chain.parse(f"micro/{recipe}/s1/train"), 6, tmp_path)
    assert found.update > 0 and found.decode > 0
    [(trainer, before)] = started
    assert trainer.get_num_updates() > measuring.UPDATES
    after = session.weights(trainer)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
