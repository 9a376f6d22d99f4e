"""What is used of sacreBLEU beyond its documentation."""

import pytest
from support.contract import broken, entries

RELIED_UPON = {
    "scoring/quality.py": [
        "metrics/base.py Metric._extract_corpus_statistics(self, hypotheses, references)",
        "metrics/base.py Metric._aggregate_and_compute(self, stats)",
        "metrics/base.py Metric.get_signature(self)",
        "tokenizers/tokenizer_spm.py SPM_MODELS",
        "tokenizers/tokenizer_spm.py SACREBLEU_DIR",
    ],
    "data/fetch.py": [
        "dataset/__init__.py DATASETS",
        "dataset/base.py Dataset._outdir",
        "dataset/base.py Dataset._rawdir",
        "dataset/base.py Dataset._get_tarball_filename(self, url)",
        "dataset/base.py Dataset.get_source_file(self, langpair)",
        "dataset/base.py Dataset.get_reference_files(self, langpair)",
        "dataset/base.py Dataset.data",
        "dataset/base.py Dataset.md5",
        "dataset/base.py Dataset.langpairs",
    ],
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_sacrebleu_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("sacrebleu", ours, entry)) is None, reason
