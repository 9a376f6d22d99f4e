"""The ten probing tasks (Conneau et al. 2018): what they are called, and the files of SentEval that have
their examples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# name -> category, as Wang et al. (2020) call them; Conneau et al.'s surface tasks are "lexical" there
CATEGORIES = {
    "SentLen": "lexical",
    "WC": "lexical",
    "TreeDepth": "syntactic",
    "TopConst": "syntactic",
    "BShift": "syntactic",
    "Tense": "semantic",
    "SubjNum": "semantic",
    "ObjNum": "semantic",
    "SOMO": "semantic",
    "CoordInv": "semantic",
}
FILES = {
    "SentLen": "sentence_length.txt",
    "WC": "word_content.txt",
    "TreeDepth": "tree_depth.txt",
    "TopConst": "top_constituents.txt",
    "BShift": "bigram_shift.txt",
    "Tense": "past_present.txt",
    "SubjNum": "subj_number.txt",
    "ObjNum": "obj_number.txt",
    "SOMO": "odd_man_out.txt",
    "CoordInv": "coordination_inversion.txt",
}


def files_of(task: Mapping[str, Any], data_dir: Path | None) -> dict[str, Path]:
    """The files of SentEval, by probe, that are in `data_dir`/probing or in `data_dir` itself; none for
    another language than English.
    """
    if data_dir is None or task["source"] != "en":
        return {}
    places = {name: [data_dir / "probing" / file, data_dir / file] for name, file in FILES.items()}
    return {
        name: next(filter(os.path.isfile, files))
        for name, files in places.items()
        if any(map(os.path.isfile, files))
    }
