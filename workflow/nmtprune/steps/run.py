"""`run` makes the last step of a chain: under a lock, resuming or restoring, and leaving whole files only.

Each kind of step has a module of its own beside this one.
"""

from __future__ import annotations

import time
from importlib import import_module

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.files import write_json
from nmtprune.runtime import devices
from nmtprune.store import manifest
from nmtprune.store import state as store


def run(config: Config, chain: Chain) -> None:
    """Make the last step of a chain, and before it the selections that it follows.

    A step goes on where it was interrupted, or restores what an earlier run of the same digest made. Raises
    UserError if the parent's model or the data is missing or damaged.
    """
    if not devices.is_worker():  # for workers, their launcher has done it
        make_selections(config, chain)
    _make(config, chain)


def make_selections(config: Config, chain: Chain) -> None:
    """Make the selections that the last step of a chain follows."""
    for selection in chain.of_its_job()[:-1]:
        _make(config, selection)


def _make(config: Config, chain: Chain) -> None:
    directory = paths.model(chain)
    state, identity = paths.state(directory), manifest.digest_of(config, chain)
    module = import_module(f"nmtprune.steps.{chain.last.kind.module}")
    if not devices.is_first():  # the first worker writes the files
        if chain.last.kind.trains and not store.finished(state, identity):
            module.make(config, chain, state)
        return
    with store.lock(state):
        store.begin(state, identity)
        if not store.finished(state, identity):
            began = time.monotonic()
            facts = {"wall_seconds": None, **module.make(config, chain, state)}
            facts["wall_seconds"] = facts["wall_seconds"] or round(time.monotonic() - began, 3)
            outputs = store.outputs_of(state)
            whole = manifest.make(config, chain, identity, {**facts, "files": store.sizes(outputs)})
            write_json(outputs / paths.MANIFEST, whole)
            (state / paths.RESUME).unlink(missing_ok=True)
        store.publish(state, directory)
