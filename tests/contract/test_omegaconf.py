"""What omegaconf's objects consist of where fairseq wrote them into checkpoints."""

import pytest
from support.contract import broken, entries

RELIED_UPON = {
    "fairseq_bridge/checkpoint_classes.py": [
        "dictconfig.py DictConfig",
        "listconfig.py ListConfig",
        "base.py ContainerMetadata",
        "base.py Metadata",
        "base.py SCMode",
        "base.py Node",
    ],
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_omegaconf_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("omegaconf", ours, entry)) is None, reason
