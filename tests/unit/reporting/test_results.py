"""The results in README and docs are generated from the claims of the committed runs."""

import pytest
from support.workplace import REPOSITORY

from nmtprune.claims.registry import CLAIMS
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json, write_table
from nmtprune.reporting import results

RUNS = results.kept(REPOSITORY)


def record(**more):
    return {
        **{
            "paper": "see2016",
            "name": "direct-40",
            "headline": "1",
            "text": "40 % go",
            "where": "section 4.2",
            "items": "",
        },
        **{"said": "holds", "here": "At 40 % +0.10 BLEU.", "precision": "", **more},
    }


def test_readme_is_what_is_generated():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme == results.insert(readme, results.block(RUNS)), "run `make results`"


def test_what_methods_bought_is_generated_from_the_kept_fronts():
    page = (REPOSITORY / "docs" / "choosing.md").read_text(encoding="utf-8")
    assert page == results.insert(page, results.bought(REPOSITORY)), "run `make results`"


def test_each_model_is_beside_the_dense_one_of_its_recipe_or_of_its_shape(tmp_path):
    front = tmp_path / results.FOLDER / "mine" / results.FRONT

    def row(group, label, recipe, chain, bleu, speed, size):
        numbers = {"bleu": bleu, "words_per_second": speed, "size_stored": size}
        return {"group": group, "label": label, "recipe": recipe, "chain": chain, **numbers}

    rows = [
        row("From scratch", "6-6", "student", "train", 30.0, 1000.0, 8e6),
        row("From scratch", "6-6, FFN 192", "small", "train", 29.5, 1500.0, 4e6),
        row("Magnitude", "6-6, 50 %", "student", "train/prune-global-50/retrain", 30.2, 990.0, 4.4e6),
        row("Lasso", "6-6, not timed", "student", "train/lasso", 29.0, "", 6e6),
        row("Lasso", "12-1", "unknown", "train/lasso", 29.0, 1200.0, 6e6),
    ]
    write_table(front, rows)
    written = results.bought(tmp_path)
    assert "| From scratch | 6-6, FFN 192 | −0.5 | 1.50x | 50 % |" in written
    assert "| Magnitude | 6-6, 50 % | +0.2 | 0.99x | 55 % |" in written
    assert "not timed" not in written and "12-1" not in written and "| 6-6 |" not in written


def test_the_page_of_results_is_what_is_generated():
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == results.document(RUNS, results.searched(REPOSITORY)), "run `make results`"


def test_kept_claims_are_those_that_the_code_has():
    known = {claim.key: claim for claim in CLAIMS}
    assert RUNS
    for records in RUNS.values():
        for each in records:
            claim = known[f"{each['paper']}/{each['name']}"]
            assert (each["text"], each["where"]) == (claim.text, claim.where), claim.key


def test_readme_shows_headlines_and_the_page_all():
    runs = {
        "mine": [
            record(),
            record(name="gates", headline="0", text="gates", said="undecided", precision="Half-width 1."),
        ]
    }
    block, page = results.block(runs), results.document(runs, [])
    assert "“40 % go” | **holds** | At 40 % +0.10 BLEU. |" in block and "gates" not in block
    assert "“gates”" in page and "Half-width 1." in page
    assert "2 claims: 1 holds, 1 is undecided." in block and "2 claims: 1 holds, 1 is undecided." in page
    assert results.block({"toy": runs["mine"]}) == f"{results.BEGIN}\n\n{results.END}"


def test_readme_shows_few_headlines_of_each_paper_those_that_are_decided_first():
    undecided = [record(text=f"open {number}", said="undecided, in this run") for number in range(5)]
    block = results.block({"mine": [*undecided, record(), record(paper="wang2020")], "none": []})
    shown = [line.split(" | ")[1:3] for line in block.splitlines() if line.startswith("| ") and "“" in line]
    assert shown == [
        ["“40 % go”", "**holds**"],
        ["“open 0”", "**undecided, in this run**"],
        ["“40 % go”", "**holds**"],
    ]
    assert "`none`" not in block


def test_only_the_part_between_the_markers_is_replaced():
    readme = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
    assert results.insert(readme, f"{results.BEGIN}\nnew\n{results.END}") == readme.replace("old", "new")
    with pytest.raises(UserError, match="no part between"):
        results.insert("no markers", "new")


def test_long_findings_are_shortened_at_statements():
    text = "; ".join(f"statement {number:03d}" for number in range(50))
    short = results._first(text, 240)
    assert len(short) < 250 and short.endswith("; …") and text.startswith(short.removesuffix("; …"))
    assert results._first("short; too", 240) == "short; too"


def test_the_page_of_results_shows_how_recipes_were_chosen(tmp_path):
    rates = {"phases": [{"updates": 500, "rate": 1e-3}, {"updates": 300, "rate": 2.5e-4}]}
    for steps, updates, slice_ in (
        (
            "train",
            4000,
            {"schedule": {"learning_rate": {"peak": 5e-3, "warm_up": 400}}, "architecture": {"dropout": 0.2}},
        ),
        ("train/prune-local-50/retrain", 800, {"schedule": {"learning_rate": rates}}),
    ):
        model = tmp_path / "results/reference/search/models/mine/small/s1" / steps
        write_json(
            model / "manifest.json", {"chain": f"mine/small/s1/{steps}", "updates": updates, "slice": slice_}
        )
        write_table(
            model / "scores.csv",
            [{"set": name, "bleu": bleu, "perplexity": 5} for name, bleu in (("dev", 38.071), ("test", 1))],
            ("set", "bleu", "perplexity"),
        )
    page = results.document({}, results.searched(tmp_path))
    assert "| mine | small | train | 1 | 4,000 | 0.005 after 400 updates | 0.2 | 5.000 | 38.07 |" in page
    assert (
        "| mine | small | train/prune-local-50/retrain | 1 | 800 | 0.001, 0.00025 |  | 5.000 | 38.07 |"
        in page
    )
    assert "How recipes were chosen" not in results.document({}, [])


def test_kept_pages_hold_nothing_that_snakemakes_report_alone_reads():
    kept = REPOSITORY / results.FOLDER
    alone = [*kept.glob("*/*/*.html"), *kept.glob("*/report.rst")]
    assert [file for file in alone if file.parent.name != "pages"] == []
