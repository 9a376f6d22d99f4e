"""Models and development sets of finished chains in the form that engines take."""

from nmtprune.experiment import chain, paths
from nmtprune.store.model import of_chain


def model_of(workplace, text):
    """The model of a chain."""
    with workplace.inside():
        return of_chain(workplace.config, chain.parse(text))


def pairs(workplace, text, count=40):
    """Sources and targets of the development set in pieces."""
    with workplace.inside():
        folder = paths.binarised(workplace.config.data_folder(chain.parse(text)))
    from nmtprune.fairseq_bridge.binarise import read_pairs
    from nmtprune.store.model import read_dictionary

    symbols = [read_dictionary(workplace / folder / f"dict.{side}.txt") for side in ("src", "tgt")]
    read = list(read_pairs(workplace / folder, "valid", ("src", "tgt"), count))
    return tuple([[symbols[side][piece] for piece in pair[side]] for pair in read] for side in (0, 1))
