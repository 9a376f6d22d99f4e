"""What is scored because the settings ask for it: COMET, and the further measures of sacreBLEU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nmtprune.scoring import comet


def beside_bleu(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of what scores depend on that the settings add; empty where they ask for nothing."""
    found = {}
    if comet.unavailable(settings["comet_model"]) is None:
        found["comet"] = settings["comet_model"]
    if settings["measures"]:
        found["measures"] = sorted(settings["measures"])
    return found
