"""The mean of a model's encoder representations of the development set (Wang et al. 2020, section 4)."""

from __future__ import annotations

import pandas as pd

from nmtprune.analysis.encoder import Encoder
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.files import read_lines


def analyse(config: Config, chain: Chain) -> Analysis:
    """Columns `dimension` and `value`: the mean over development sentences of their means over positions.

    All sentences have the same weight, whatever their lengths.
    """
    source = config.task(chain.task).source
    lines = read_lines(paths.text(chain.task) / f"dev.{source}")
    mean = Encoder(config, chain).mean_pooled(lines).double().mean(0)
    return Analysis(pd.DataFrame({"dimension": range(len(mean)), "value": mean.numpy()}))
