"""The ten probing tasks (Conneau et al. 2018): their names, categories and files of SentEval."""

from __future__ import annotations

import os
from pathlib import Path

from nmtprune.experiment.task import Task

# Categories as named by Wang et al. (2020), whose "lexical" tasks are the surface tasks of Conneau et al.
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


def files_of(task: Task, data_dir: Path | None) -> dict[str, Path]:
    """The files of SentEval, by probe, in `data_dir`/probing or in `data_dir` itself.

    Empty for source languages other than English.
    """
    if data_dir is None or task.source != "en":
        return {}
    places = {name: [data_dir / "probing" / file, data_dir / file] for name, file in FILES.items()}
    return {
        name: next(filter(os.path.isfile, files))
        for name, files in places.items()
        if any(map(os.path.isfile, files))
    }
