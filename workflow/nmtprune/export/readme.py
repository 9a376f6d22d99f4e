"""The README of an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.metrics import METRICS
from nmtprune.foundation.escape import markdown
from nmtprune.foundation.files import read_table, sha256_of


def readme(config: Config, chain: Chain, about: dict[str, Any], folder: Path) -> str:
    """The README of an exported folder: the model, its scores, how to run it, and its licence.

    `about`: the contents of the folder's config.json.
    """
    task, search = config.task(chain.task), about["search"]
    checksums = "\n".join(
        f"{sha256_of(file)}  {file.relative_to(folder)}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    )
    return f"""# {task.source}-{task.target}: {chain}

```bash
pip install -r requirements.txt
./translate < source.txt > target.txt
```

One line out for each line in; Python 3.11 or later. `./translate --help` lists the options. Lines of more
than {about["max_source_length"]} pieces are cut at sentence ends or spaces and translated in parts;
`--longest 100` cuts earlier, which suits a model that has learnt from single sentences better.

- Model: `{chain}`, digest `{about["digest"]}`, made by nmtprune on {markdown(task.title)}.
- Engine: {about["engine"]}, {about["precision"]}, {"with" if about["shortlist"] else "without"} a lexical
  shortlist.
- Search: beam {search["beam"]}, length penalty {search["length_penalty"]}; a hypothesis has at most
  {search["max_len_a"]} times as many pieces as its source, end of sentence included, plus
  {search["max_len_b"]}.

## Scores

{_scores(chain)}

## Licence

`translate` and the modules that it imports from this folder are part of nmtprune, under the MIT licence
(LICENSE). Weights and subwords were learnt from the corpora of the task `{chain.task}`; the terms of those
corpora apply to them.

## SHA-256

```
{checksums}
```
"""


def _scores(chain: Chain) -> str:
    """A chain's scores as a table, with the metrics' signatures and the way of decoding."""
    file = paths.scores(chain)
    if not file.exists():
        return "This model was exported before it was scored."
    rows = [row for row in read_table(file) if row["chain"] == str(chain) and row["bleu"]]
    signed = [
        (metric.name, *metric.signature) for metric in METRICS.values() if metric.better and metric.signature
    ]
    shown = [each for each in signed if all(row.get(each[0]) and row.get(each[2]) for row in rows)]
    heading = _line("set", *(title for _, title, _ in shown))
    table = [_line(row["set"], *(f"{float(row[name]):.2f}" for name, _, _ in shown)) for row in rows]
    signatures = {
        ", ".join([*(f"{title} `{row[column]}`" for _, title, column in shown), f"measured in {_way(row)}"])
        for row in rows
    }
    return "\n".join([heading, f"|{'---|' * (1 + len(shown))}", *table, "", *sorted(signatures)])


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _way(row: dict[str, str]) -> str:
    shortlist = f"a shortlist of {row['shortlist']}" if row.get("shortlist") else None
    return ", ".join(filter(None, (row["engine"], row.get("precision"), shortlist, f"beam {row['beam']}")))
