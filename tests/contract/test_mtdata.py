"""What is used of mtdata, which documents only its command line."""

import pytest
from support.contract import broken, entries

RELIED_UPON = {
    "data/fetch.py": [
        "cache.py Cache.get_local_path(self, url, filename, fix_missing, entry)",
        "cache.py Cache.get_entry(self, entry)",
        'cache.py "root: Path"',
        "entry.py DatasetId.parse(cls, string)",
        "entry.py DatasetId.langs",
        "entry.py Entry.did",
        "entry.py Entry.in_ext",
        "index/__init__.py Index.get_instance(cls)",
        "index/__init__.py Index.entries",
        "iso/bcp47.py bcp47",
        "iso/bcp47.py \"class BCP47Tag(namedtuple('BCP47Tag', ('lang',\"",
        'parser.py "paths: Union[Path, List[Path]]"',
        "parser.py Parser.ext",
        "parser.py Parser.ent",
        "parser.py Parser.read_segs(self, show_pbar=)",
        '__init__.py "MTDATA"',
    ],
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_mtdata_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("mtdata", ours, entry)) is None, reason
