"""Rendering, from made-up score files; no number in this file was measured."""

import csv
import json
import random
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.files import read_table, write_table, write_text
from nmtprune.measurements import plateaus as plateau
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import plateaus
from nmtprune.planning.task_sizes import TaskSizes
from nmtprune.reporting import captions, page
from nmtprune.reporting.render import render
from nmtprune.reporting.rendition import Marked, Table
from nmtprune.reporting.tables import _cell as printed_cell
from nmtprune.reporting.tables import latex, markdown, number, table
from nmtprune.scoring import sentence_statistics
from nmtprune.scoring.quality import Quality, bleu_chrf

WORDS = (
    "the",
    "cat",
    "dog",
    "house",
    "tree",
    "sees",
    "likes",
    "under",
    "behind",
    "two",
    "red",
    "old",
    "and",
    "that",
)
SENTENCES = 80
BLEU = papers.Column("bleu", "BLEU")
TOY = {"preset": "toy", "papers": ["wang2020"]}
ERRORS = {"rejuvenate": 0.10, "continue": 0.14, "train": 0.15, "retrain": 0.22, "prune": 0.45}


def references() -> list[str]:
    words = random.Random(0)
    return [" ".join(words.choices(WORDS, k=words.randint(6, 14))) for _ in range(SENTENCES)]


def hypotheses(model: chain.Chain) -> list[str]:
    """The references with some words replaced: the more, the worse the model is made to look."""
    words = random.Random(str(model))
    rate = ERRORS[model.last.kind.name]
    return [
        " ".join(words.choice(WORDS) if words.random() < rate else w for w in line.split())
        for line in references()
    ]


def pretend(model: chain.Chain) -> None:
    """Write the files that a made and scored model leaves."""
    test = paths.text(model.task)
    test.mkdir(parents=True, exist_ok=True)
    language = "tgt" if model.task == "toy" else "src"
    (test / f"test.{language}").write_text("\n".join(references()) + "\n")
    for ancestor in model.ancestors():
        file = paths.manifest(ancestor)
        file.parent.mkdir(parents=True, exist_ok=True)
        updates = 300 if ancestor.last.kind.trains else None
        file.write_text(json.dumps({"chain": str(ancestor), "updates": updates, "wall_seconds": 20}))
    kept = paths.hypotheses(model, "test")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("\n".join(hypotheses(model)) + "\n")
    sparsity = 50.0 if model.form == "sparse" else 0.0
    row = {
        "chain": str(model),
        "set": "test",
        "sentences": SENTENCES,
        **bleu_chrf(hypotheses(model), references(), language),
        "perplexity": 2.5,
        "nll_per_token": 0.916,
        "target_tokens": 900,
        "parameters": 2510000,
        "nonzero": 2510000,
        "prunable": 2500000,
        "sparsity": sparsity,
        "size_dense": 10040000,
        "size_sparse": 10040000,
        "engine": "ctranslate2",
        "beam": 5,
        "hypotheses": str(kept),
    }
    file = paths.scores(model)
    rows = list(csv.DictReader(file.open())) if file.exists() else []
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, row)
        writer.writeheader()
        writer.writerows([*rows, {**row, "set": "dev", "bleu": 1.0}, row])


@pytest.fixture(scope="module")
def pretended(tmp_path_factory):
    """A working directory in which every model of a paper with tables has been made and scored."""
    folder = tmp_path_factory.mktemp("pretended")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for model in Run(config.from_settings(TOY)).scored:
            pretend(model)
    return folder


@pytest.fixture
def toy(pretended, tmp_path, monkeypatch):
    """The toy preset in a working directory of the test's own, all of its models pretended."""
    shutil.copytree(pretended, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return config.from_settings(TOY)


def item(settings: config.Config, key: str) -> papers.Item:
    return next(each for each in Run(settings).items if each.key == key)


def test_every_promised_file_is_written(toy):
    written = render(Run(toy))
    assert sorted(written) == sorted(Run(toy).outputs)
    assert all(file.stat().st_size > 0 for file in written)


def test_the_table_holds_the_test_set_and_the_published_values_side_by_side(toy):
    numbers = frame(item(toy, "wang2020/table2"), Measured(toy))
    best = numbers[numbers["chain"] == "train/prune-local-50/retrain/rejuvenate-zero"].iloc[0]
    model = chain.parse("toy/toy/s1/train/prune-local-50/retrain/rejuvenate-zero")
    assert best["bleu"] == bleu_chrf(hypotheses(model), references())["bleu"]
    assert best["bleu_published"] == 28.12
    assert best["parameters_published"] == 108.6e6
    assert best["updates"] == 900
    assert best["delta"] == pytest.approx(best["bleu"] - numbers.iloc[0]["bleu"])
    assert best["delta_low"] < best["delta"] < best["delta_high"]
    assert 0 < best["p_bootstrap"] <= 1 and 0 < best["p_sign"] <= 1


def test_every_measure_has_its_interval_and_is_compared_where_sentences_were_kept(toy):
    """COMET by scores of a stand-in, since its weights need a network."""
    table2 = item(toy, "wang2020/table2")
    rejuvenated = next(row for row in table2.rows if row.first.last.kind.name == "rejuvenate")
    rows_shown = [rejuvenated.against, rejuvenated]
    for model, gain in zip([row.first for row in rows_shown], (0, -5), strict=True):
        comet = np.random.default_rng(-gain).normal(80 + gain, 5, SENTENCES)
        counts = Quality(references()).statistics(hypotheses(model), "ter")
        path, name = paths.sentences(model), f"{model.last}/test"
        sentence_statistics.write(path, {f"{name}/comet": comet, f"{name}/ter": counts})
        rows = read_table(paths.scores(model))
        ter = 100 * counts[:, 0].sum() / counts[:, 1].sum()
        write_table(paths.scores(model), [{**row, "comet": comet.mean(), "ter": ter} for row in rows])
    columns = (
        BLEU,
        papers.Column("comet", "COMET"),
        papers.Column("ter", "TER"),
        papers.Column("delta", "Δ"),
    )
    numbers = frame(replace(table2, rows=rows_shown, columns=columns), Measured(toy))
    dense, pruned = numbers.to_dict("records")
    for key in ("bleu", "comet", "ter"):
        assert pruned[f"{key}_low"] < pruned[key] < pruned[f"{key}_high"]
    assert pruned["comet_delta_low"] < pruned["comet"] - dense["comet"] < pruned["comet_delta_high"]
    assert pruned["comet_p"] < 0.01 and pruned["ter_p"] < 0.01 and np.isnan(dense["comet_p"])
    assert (pruned["delta_low"], pruned["delta_high"]) != (pruned["bleu_low"], pruned["bleu_high"])
    assert pruned["delta_low"] < pruned["delta"] < pruned["delta_high"]
    assert pruned["comet"] < dense["comet"] and printed_cell(pruned, columns[1]).endswith("⇓")
    assert pruned["ter"] < dense["ter"] and printed_cell(pruned, columns[2]).endswith("⇑")  # fewer edits


def test_each_group_of_rows_is_compared_with_its_own_baseline(toy):
    numbers = frame(item(toy, "wang2020/table2"), Measured(toy))
    big = numbers[numbers["recipe"] == "toy-big"]
    assert pd.isna(big.iloc[0]["delta"])
    assert big.iloc[1]["delta"] == pytest.approx(big.iloc[1]["bleu"] - big.iloc[0]["bleu"])


def test_a_clear_difference_is_marked_and_the_direction_is_right(toy):
    settings = config.from_settings(TOY)
    figure = item(settings, "wang2020/table6")
    numbers = frame(figure, Measured(settings))
    pruned = numbers.iloc[2]
    assert pruned["chain"] == "train/prune-local-50/retrain" and pruned["p_bootstrap"] < 0.01
    assert pruned["better"] < pruned["worse"] and pruned["p_sign"] < 0.01
    assert table(figure, numbers).cells[2][-1].endswith("⇓‡")


@pytest.mark.parametrize(
    ("p_bootstrap", "p_sign", "better", "marks"),
    [
        (0.2, 0.2, 60, ""),
        (0.04, 0.2, 60, "↑"),
        (0.04, 0.04, 60, "↑†"),
        (0.009, 0.009, 60, "⇑‡"),
        (0.2, 0.04, 60, "†"),
        (0.05, 0.05, 60, ""),
        (0.04, 0.04, 20, "↑"),
    ],
)
def test_arrows_are_the_bootstraps_and_daggers_those_of_a_sign_test_that_agrees(
    p_bootstrap, p_sign, better, marks
):
    record = {"bleu": 30.0, "delta_low": -0.1, "delta_high": 0.9, "p_bootstrap": p_bootstrap}
    record |= {"better": better, "worse": 80 - better, "p_sign": p_sign}
    assert printed_cell(record, BLEU) == f"30.00{marks}"
    down, swapped = (
        str.maketrans("↑⇑", "↓⇓"),
        {"delta_low": -0.9, "delta_high": 0.1, "better": 80 - better, "worse": better},
    )
    assert printed_cell(record | swapped, BLEU) == f"30.00{marks}".translate(down)


def test_a_missing_score_is_an_empty_cell_with_its_reason_and_never_a_zero(toy):
    model = chain.parse("toy/toy/s1/train/prune-local-50/retrain/rejuvenate-zero")
    paths.scores(model).unlink()
    table2 = item(toy, "wang2020/table2")
    numbers = frame(table2, Measured(toy))
    printed = table(table2, numbers)
    assert pd.isna(numbers.iloc[2]["bleu"]) and pd.isna(numbers.iloc[2]["delta"])
    assert printed.cells[2][printed.headings.index("BLEU")] == "– (a)"
    assert printed.footnotes[0] == f"(a) {model} is not scored yet."
    assert ",0.0," not in numbers.iloc[[2]].to_csv(index=False)


def test_the_reason_names_the_first_model_that_is_missing(toy):
    model = chain.parse("toy/toy/s1/train/prune-local-50/retrain/rejuvenate-zero")
    for missing in (model, model.parent):
        paths.manifest(missing).unlink()
    assert Measured(toy).reason(model) == f"{model.parent} has not run yet"
    paths.state(paths.model(model.parent)).mkdir()
    assert Measured(toy).reason(model) == f"{model.parent} was begun and not finished, see its log"


def test_nothing_measured_still_renders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config.from_settings(TOY)
    render(Run(settings))
    numbers = pd.read_csv("results/toy/wang2020/table2.csv")
    assert numbers["bleu"].isna().all() and (numbers["seeds"] == 0).all()
    assert (
        f"0 of {len(Run(settings).scored)} models scored"
        in paths.page("toy").joinpath("index.html").read_text()
    )


def test_two_seeds_give_mean_and_standard_deviation(toy):
    settings = config.from_settings({**TOY, "seeds": [1, 2]})
    for model in Run(settings).scored:
        if model.seed == 2:
            pretend(model)
    table1 = item(settings, "wang2020/table1")
    numbers, measured = frame(table1, Measured(settings)), Measured(settings)
    ours = [measured.value(model, "bleu") for model in table1.rows[0].chains]
    assert ours[0] != ours[1]
    assert numbers["bleu"][0] == pytest.approx(sum(ours) / 2)
    assert numbers["bleu_sd"][0] == pytest.approx(abs(ours[0] - ours[1]) / 2**0.5)
    assert table(table1, numbers).cells[0][3] == f"{numbers['bleu'][0]:.2f} ± {numbers['bleu_sd'][0]:.2f}"
    render(Run(settings))
    assert "over seeds 1, 2" in paths.item("toy", "wang2020", "table1", "md").read_text()


def test_a_seed_that_is_missing_is_said_beside_the_mean_of_the_others(toy):
    settings = config.from_settings({**TOY, "seeds": [1, 2]})
    table1 = item(settings, "wang2020/table1")
    numbers = frame(table1, Measured(settings))
    printed = table(table1, numbers)
    assert numbers["seeds"].tolist() == [1] * 6 and pd.isna(numbers["bleu_sd"][0])
    assert printed.cells[0][3].endswith("(a)") and "/s2/train has not run yet" in printed.footnotes[0]


def test_cells_of_one_and_the_same_run_are_marked(toy):
    table1 = item(toy, "wang2020/table1")
    numbers = frame(table1, Measured(toy))
    printed = table(table1, numbers)
    bleu = printed.headings.index("BLEU")
    assert numbers["same_as"].dropna().to_dict() == {2: 1}
    assert printed.cells[2][bleu] == printed.cells[0][bleu] + "*"
    assert printed.footnotes == ["* One and the same run: row 3 as row 1."]


def test_our_columns_do_not_change_with_the_published_values_removed(toy, tmp_path, monkeypatch):
    before = {each.key: frame(each, Measured(toy)) for each in Run(toy).items}
    monkeypatch.setattr(papers, "_published", lambda *_: [])
    unpublished = config.from_settings(TOY)
    after = {each.key: frame(each, Measured(unpublished)) for each in Run(unpublished).items}
    for key, numbers in before.items():
        ours = [name for name in numbers if not name.endswith("_published")]
        pd.testing.assert_frame_equal(numbers[ours], after[key][ours])
        published = after[key].drop(columns=ours)
        assert published.isna().all(axis=None)
    assert before["wang2020/table2"]["bleu_published"].notna().sum() == 7


def test_captions_say_what_a_reader_needs_to_repeat_the_run(toy):
    render(Run(toy))
    text = paths.item("toy", "wang2020", "table2", "md").read_text()
    train, *others = (
        f"{step} {toy.schedule('toy', step).updates}"
        for step in ("train", "continue", "retrain", "rejuvenate")
    )
    for said in (
        "Toy, task toy, for WMT14 En-De",
        "recipe toy-big, for Transformer big",
        f"Updates at most (learning rates): toy: {train} by Adam (",
        *(f", {each} (" for each in others),
        "Seed 1.",
        "Test set: test (80 sentences)",
        "embeddings and output projection included",
        "BLEU nrefs:1|case:mixed",
        "ctranslate2, beam 5",
        "Published: Wang et al. 2020, Table 2, WMT14 En-De, Transformer base, Transformer big.",
    ):
        assert said in text
    assert "Left out, since nothing stands in for it: IWSLT17 En-Fr." in (
        paths.item("toy", "wang2020", "table3", "md").read_text()
    )


@pytest.mark.parametrize(
    ("recipe", "schedule", "rates"),
    [
        ("lstm", "train", "1 to 0.062"),
        ("lstm", "rejuvenate", "0.05"),
        ("tiny-lstm", "train", "0.003 after warm-up to 0.00016"),
        ("tiny-lstm", "retrain", "0.0015 to 9.4e-05"),
    ],
)
def test_rates_are_said_from_first_to_last(recipe, schedule, rates):
    found = config.from_settings(TOY).schedule(recipe, schedule)
    assert captions._rates(found) == rates


def with_rows(changed: papers.Item, *chains: str, metrics=("bleu", "perplexity")) -> papers.Item:
    """A table of models of one's own, the first of them the baseline of the others."""
    rows: list[papers.Row] = []
    for each in chains:
        against = rows[0] if rows else None
        rows.append(
            papers.Row(
                each,
                "",
                (chain.parse(f"toy/toy/s1/{each}"),),
                {},
                not rows,
                against,
                {},
                "wmt14-en-de",
                "base",
            )
        )
    columns = tuple(papers.Column(metric, metric.upper()) for metric in metrics)
    return replace(changed, rows=tuple(rows), columns=columns)


def test_a_model_pruned_in_one_class_has_a_perplexity_and_an_empty_cell_that_says_why(toy):
    limited = with_rows(
        item(toy, "wang2020/table2"),
        "train",
        "train/prune-global-90-attention",
        metrics=("bleu", "delta", "perplexity"),
    )
    model = limited.rows[1].chains[0]
    text = dict.fromkeys(("bleu", "bleu_signature", "chrf", "chrf_signature", "beam", "hypotheses"), "")
    row = {
        "chain": str(model),
        "set": "test",
        "sentences": SENTENCES,
        **text,
        "perplexity": 3.25,
        "engine": "fairseq",
    }
    paths.manifest(model).parent.mkdir(parents=True, exist_ok=True)
    paths.manifest(model).write_text("{}")
    with paths.scores(model).open("w", newline="") as out:
        writer = csv.DictWriter(out, row)
        writer.writeheader()
        writer.writerow(row)
    measured = Measured(toy)
    assert measured.hypotheses(model) is None and measured.statistics(model) is None
    printed = table(limited, frame(limited, measured))
    assert printed.cells[1][2:] == ["– (a)", "– (a)", "3.25"]
    assert printed.footnotes == [
        f"(a) {model} is pruned in one weight class only, which is scored by perplexity alone."
    ]
    said = " ".join(captions.caption(limited, measured))
    assert (
        "BLEU nrefs:1" in said
        and "BLEU ," not in said
        and ", ." not in said
        and "beam ;" not in said
        and "beam ." not in said
    )


def test_translations_of_another_text_are_not_compared_and_it_is_said(toy):
    table2 = with_rows(item(toy, "wang2020/table2"), "train", "train/prune-local-50/retrain")
    model = table2.rows[1].chains[0]
    kept = paths.hypotheses(model, "test")
    kept.write_text(kept.read_text() + "one line more\n")
    measured = Measured(toy)
    assert measured.hypotheses(model) is None and measured.statistics(model) is None
    assert measured.missing(model, {"scores", "hypotheses"}).startswith(
        f"the translations of {model} are gone, or of another text"
    )
    printed = table(table2, frame(table2, measured))
    assert printed.cells[1][2].endswith(" (a)") and printed.footnotes[0].startswith(
        "(a) Not compared with the baseline"
    )


def test_where_no_word_is_gone_there_is_no_rank_and_no_footnote(toy):
    gone = with_rows(
        item(toy, "wang2020/table2"),
        "train",
        metrics=("source_words_gone", "source_rank_gone", "target_words_gone"),
    )
    paths.analysis(gone.rows[0].chains[0], "weights").write_text("name,value\nsource_words_gone,0\n")
    printed = table(gone, frame(gone, Measured(toy)))
    assert printed.cells[0][2:] == ["0", "–", "– (a)"]
    assert printed.footnotes == ["(a) TARGET_WORDS_GONE is not recorded."]


def test_latex_escapes_text_and_keeps_the_marks(toy):
    table2 = item(toy, "wang2020/table2")
    printed = table(table2, frame(table2, Measured(toy)))
    text = latex(printed, table2.key, "Table 2", ["50 % of c# & a_b"])
    assert r"50 \% of c\# \& a\_b" in text and r"\toprule" in text and r"$\Delta$" in text
    assert text.count(r" \\") == 1 + len(table2.rows)
    assert not set("↑⇑↓⇓†‡Δ±–−") & set(text)


def test_markdown_and_latex_show_marked_cells_and_escape_every_other_character():
    cell = Marked((("a|b_c ", False), ("*50 %*", True), (" & ‡", False)))
    printed = Table(
        ["A|B", "C_D"], ["name", "text"], [["x_y", cell], ["28.1⇑‡", "plain"]], [], frozenset({0, 1})
    )
    lines = markdown(printed, "Table", []).splitlines()
    assert r"| A\|B" in lines[2] and r"C\_D" in lines[2]
    assert r"a\|b\_c **\*50 %\*** & ‡" in lines[4]
    text = latex(printed, "paper/table", "Table", [])
    assert r"x\_y & a\textbar{}b\_c \textbf{*50 \%*} \& $\ddagger$ \\" in text
    assert text.count(r"\midrule") == 2 and "28.1$\\Uparrow$$\\ddagger$" in text


def test_markdown_has_a_line_for_each_row(toy):
    table2 = item(toy, "wang2020/table2")
    printed = table(table2, frame(table2, Measured(toy)))
    lines = [line for line in markdown(printed, "Table 2", ["Text."]).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table2.rows)
    assert len({line.count("|") for line in lines}) == 1


def test_the_figure_holds_the_baseline_and_every_ratio_of_the_grid(toy):
    render(Run(toy))
    numbers = pd.read_csv(paths.item("toy", "wang2020", "figure1", "csv"))
    assert numbers.loc[numbers["label"] == "Prune", "percent"].tolist() == 2 * [20, 50, 80]
    assert numbers["bleu"].notna().all()
    svg = paths.item("toy", "wang2020", "figure1", "svg").read_text()
    assert svg.lstrip().startswith("<?xml") and "<dc:date>" not in svg


class Read(HTMLParser):
    """The links of a page, and what other pages can link to."""

    def __init__(self, file):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src")]
        self.anchors |= {value for name, value in attributes if name == "id"}


def test_every_link_of_every_page_leads_somewhere_in_its_folder(toy):
    render(Run(toy))
    folder = paths.page("toy").resolve()
    pages = [folder / "index.html", *(folder / paths.MODEL_PAGES).rglob("*.html")]
    read = {file.resolve(): Read(file) for file in pages}
    models = {paths.model_page("toy", each).resolve() for each in Run(toy).models}
    assert set(read) == {folder / "index.html", *models}
    for file_of_page, found in read.items():
        for link in found.links:
            name, _, anchor = link.partition("#")
            file = (file_of_page.parent / name).resolve() if name else file_of_page
            assert link == "data:," or (file.exists() and file.is_relative_to(folder)), (file_of_page, link)
            assert not anchor or anchor in read[file].anchors, (file_of_page, link)
    assert len(read[folder / "index.html"].links) > 100


def test_pages_of_models_that_are_no_longer_asked_for_go(toy):
    old = paths.page("toy") / paths.MODEL_PAGES / "toy" / "old.html"
    write_text(old, "")
    render(Run(toy))
    assert not old.exists()


def test_a_preset_without_rows_for_an_item_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config.from_settings({"preset": "wmt14", "papers": ["wang2020/table3"]})
    render(Run(settings))
    text = paths.item("wmt14", "wang2020", "table3", "md").read_text()
    assert "Left out, since nothing stands in for it: WMT17 Zh-En, IWSLT14 De-En, IWSLT17 En-Fr." in text
    assert pd.read_csv(paths.item("wmt14", "wang2020", "table3", "csv")).empty


def test_rendering_twice_gives_the_same_bytes(toy):
    first = {file: file.read_bytes() for file in render(Run(toy))}
    assert {file: file.read_bytes() for file in render(Run(toy))} == first


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("parameters", 108.6e6, "108.6M"),
        ("parameters", 305.3e6, "305.3M"),
        ("parameters", 253_184, "0.253M"),
        ("delta", 0.2, "+0.20"),
        ("delta", -0.204, "−0.20"),
        ("bleu", 28.119, "28.12"),
        ("updates", 100_000, "100,000"),
    ],
)
def test_numbers_in_print(metric, value, text):
    assert number(metric, value) == text


def test_sentence_statistics_outlive_hypotheses_and_references(toy):
    """What intervals need is kept beside the scores, of variants too."""
    model = chain.parse("toy/toy/s1/train")
    measured = Measured(toy)
    whole = measured.of_sentences(model, "test", "bleu")
    sentence_statistics.write(
        paths.sentences(model), {"train/test/bleu": whole, "train/test/nll": np.arange(len(whole)) / 7}
    )
    paths.hypotheses(model, "test").unlink()
    kept = Measured(toy)
    assert (kept.of_sentences(model, "test", "bleu") == whole).all() and kept.statistics(model).shape == (
        1,
        *whole.shape,
    )
    assert kept.of_sentences(model, "test", "nll") == pytest.approx(np.arange(len(whole)) / 7)
    assert paths.sentences(model).stat().st_size < 6000
    write_text(
        paths.scores(model), paths.scores(model).read_text().replace(f",{SENTENCES},", f",{SENTENCES + 1},")
    )
    assert Measured(toy).of_sentences(model, "test", "bleu") is None  # of another text than the scores
    assert paths.sentences(chain.parse("toy/toy/s1/train/prune-global-20")).name == "variants.npz"


def test_a_baseline_is_done_when_a_fifth_more_updates_hardly_help(toy):
    train = chain.parse("toy/toy/s1/train")

    def histories(own, longer=None):
        write_text(
            paths.history(train), "update,dev_nll\n" + "".join(f"{update},{nll}\n" for update, nll in own)
        )
        file = paths.history(chain.parse("toy/toy/s1/train/continue"))
        file.unlink(missing_ok=True)
        if longer:
            write_text(file, "update,dev_nll\n" + "".join(f"{update},{nll}\n" for update, nll in longer))
        return plateau.gain([train], Measured(toy))

    found = histories([(100, 3.0), (600, 2.0)], [(0, 2.0), (60, 1.99), (120, 1.985), (300, 1.5)])
    assert (
        found.nll == pytest.approx(0.75) and found.done
    )  # what comes after a fifth of the updates does not count
    assert not histories([(100, 3.0), (600, 2.0)], [(60, 1.97), (120, 1.99)]).done
    assert histories([(100, 3.0), (600, 2.0)], [(60, 2.1), (120, 2.2)]).done  # worse counts as done
    own = histories([(500, 2.02), (600, 2.0)])
    assert own.nll == pytest.approx(100 * 0.02 / 2.02) and own.done and "not trained further" in str(own)
    assert not histories([(500, 2.1), (600, 2.0)]).done
    assert plateau.gain([chain.parse("toy/toy/s7/train")], Measured(toy)) is None


@pytest.mark.parametrize(("sentences", "bleu"), [(1000, pytest.approx(2.0)), (250, None)])
def test_bleu_of_a_small_development_set_does_not_say_that_a_baseline_is_not_done(
    toy, monkeypatch, sentences, bleu
):
    train, longer = (chain.parse(f"toy/toy/s1/{steps}") for steps in ("train", "train/continue"))
    write_text(paths.history(train), "update,dev_nll\n100,3.0\n600,2.0\n")
    write_text(paths.history(longer), "update,dev_nll\n0,2.0\n60,2.0\n")
    measured = Measured(toy)
    monkeypatch.setattr(measured, "value", lambda each, metric: 22.0 if each == longer else 20.0)
    monkeypatch.setattr(measured, "scores", lambda each, name: {"sentences": str(sentences)})
    found = plateau.gain([train], measured)
    assert found.bleu == bleu and found.done == (bleu is None)


def test_plateaus_have_the_gains_of_the_rule_by_seed_and_its_answer_by_model(toy):
    def history(steps, seed, *rows):
        of_model = chain.parse(f"toy/toy/s{seed}/{steps}")
        lines = "".join(f"{update},{nll},{np.exp(nll)}\n" for update, nll in rows)
        write_text(paths.history(of_model), f"update,dev_nll,dev_perplexity\n{lines}")
        return of_model

    roots = [
        history("train", 1, (0, 4.0), (400, 2.2), (450, 2.1), (500, 2.0)),
        history("train", 2, (500, 2.0)),
        history("train-pretrain", 1, (30, 5.0)),  # which later phases continue
    ]
    history("train/continue", 1, (0, 2.0), (100, 1.97), (200, 1.5))
    history("train/continue", 2, (0, 2.0), (100, 2.0))
    further = chain.parse("toy/toy/s1/train/continue")
    first, second = plateaus([roots[:2], [further], roots[2:]], Measured(toy))
    assert (first.chain, second.chain) == tuple(roots[:2])
    assert first.perplexity == {80: np.exp(2.2), 90: np.exp(2.1), 100: np.exp(2.0)}
    assert first.further == pytest.approx(np.exp(1.97)) and first.gain.nll == pytest.approx(1.5)
    assert not first.gain.done and second.gain.done
    assert first.done and second.done  # 0.75 % over both seeds
    assert not plateaus([roots[:1], roots[1:2]], Measured(toy))[0].done  # in rows of their own
    assert plateaus([[chain.parse("toy/toy/s7/train")]], Measured(toy)) == []


def test_the_table_of_baselines_says_which_are_on_their_plateau(toy):
    train = chain.parse("toy/toy/s1/train")
    write_text(paths.history(train), "update,dev_nll,dev_perplexity\n500,2.1,8.2\n600,2.0,7.4\n")
    shown = page._baselines(plateaus([[train]], Measured(toy)))
    line = dict(zip(shown.headings, shown.cells[0], strict=True))
    assert (line["gain (%)"], line["trained further"], line["plateau"]) == ("4.8", "", "no")
    assert any("1 % (2 % where it was not trained further)" in each for each in page.PLATEAU)


def test_a_model_page_exports_what_has_run_and_says_that_weights_are_elsewhere(toy):
    made = chain.parse("toy/toy/s1/train/prune-local-50/retrain")
    commands.remember(settings=["preset=toy", "data_dir=/home/me/texts"])
    try:
        render(Run(toy))
    finally:
        commands.remember()
    text = paths.model_page("toy", made).read_text()
    assert f"export {made} exported --set preset=toy</pre>" in text and "data_dir" not in text
    assert f"snakemake --cores all {paths.manifest(made)} --config preset=toy</pre>" in text
    assert "The weights are not part of this page" in text
    paths.scores(made).unlink()
    paths.manifest(made).unlink()
    render(Run(toy))
    text = paths.model_page("toy", made).read_text()
    assert "can be exported once it has run" in text and "export toy" not in text


def test_examples_without_sources_say_why(toy):
    made = chain.parse("toy/toy/s1/train/prune-local-50/retrain")
    run, said = Run(toy), "Sources and references are not kept with this page."
    (paths.text("toy") / "test.src").write_text("\n".join(references()) + "\n")
    render(run)
    assert said not in paths.model_page("toy", made).read_text()
    (paths.text("toy") / "test.src").unlink()
    render(run)
    assert said in paths.model_page("toy", made).read_text()


def test_stand_ins_have_sizes_where_they_are_known(toy):
    rendered = [page.Rendered(item(toy, "wang2020/table2"), None, [], {})]
    stand_ins = dict(page._stand_ins(toy, Measured(toy), rendered))
    title = toy.task("toy").title
    assert stand_ins["WMT14 En-De"] == f"{title}, {TaskSizes(toy, 'toy').sentences('train'):,} training pairs"
    assert stand_ins["Transformer base"] == f"{toy.recipe('toy').title}, 2.51M parameters"
    for root in (
        paths.scores(chain.parse("toy/toy/s1/train")),
        paths.scores(chain.parse("toy/toy-big/s1/train")),
    ):
        root.unlink()
    stand_ins = dict(page._stand_ins(toy, Measured(toy), rendered))
    assert stand_ins["Transformer base"] == toy.recipe("toy").title


def test_rows_that_were_never_trained_are_not_compared_in_precision(toy):
    rows = with_rows(item(toy, "wang2020/table2"), "train", "train/continue", "train/prune-local-50/retrain")
    *compared, never = rows.rows
    rows = replace(rows, rows=(*compared, replace(never, label=compared[1].label)))  # rows of a grid
    trained = [row.first for row in rows.rows[:2]]

    class Partly(Measured):
        def trained_precision(self, model):
            return {trained[0]: "bf16", trained[1]: self.used}.get(model)

    measured = Partly(toy)
    measured.used = "bf16"
    assert "precision (" not in " ".join(captions.caption(rows, measured))
    measured.used = "fp16"
    assert "precision (train: bf16; train/continue: fp16)" in " ".join(captions.caption(rows, measured))
