"""The page in a real browser: Chromium, headless, by Playwright. Skipped where one of them is missing."""

import shutil
from pathlib import Path

import pytest
from support import made_up_results

from nmtprune.experiment import config, paths
from nmtprune.experiment.run import Run
from nmtprune.reporting.render import render

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

ITEMS = [
    *("see2016/figure6", "wang2020/table2", "wang2020/table5", "wangtu2020/table3"),
    *("behnke2021/table1a", "behnke2021/front", "behnke2021/speed"),
]
SETTINGS = {"preset": "toy", "papers": ITEMS, "seeds": [1, 2, 3], "name": "shown"}
WIDTHS = (400, 800, 1400)
INDEX, MODEL = "index.html", "pages/toy/toy/s1/train/prune-local-50/retrain.html"
PAGES = (INDEX, MODEL)
TOO_WIDE = """() => {
  const scrolls = (element) => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(element).overflowX);
  const inside = (element) => element && (scrolls(element) || inside(element.parentElement));
  return [...document.body.querySelectorAll('*')]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !inside(each.parentElement))
    .map((each) => `${each.tagName}.${each.className}: ${each.textContent.trim().slice(0, 60)}`);
}"""
DEAD_LINKS = """() => [...document.querySelectorAll('a[href^="#"]')].map((each) => each.getAttribute('href'))
  .filter((link) => !document.getElementById(decodeURIComponent(link.slice(1))))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a page, zipped, moved and unzipped: it must need nothing beside it."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run = config.from_settings(SETTINGS)
        made_up_results.write(run)
        render(Run(run))
        zipped = shutil.make_archive("page", "zip", paths.page(run.name))
    moved = tmp_path_factory.mktemp("moved")
    shutil.unpack_archive(zipped, moved)
    shutil.rmtree(place)
    return moved


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, folder):
    """A function that opens a page in a window; at the end nothing was logged, and nothing asked for outside
    the folder.
    """
    said, contexts = [], []

    def open_page(name=INDEX, width=1400, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.extend(outside(request.url)))
        page.goto((folder / name).as_uri())
        return page

    def outside(url):
        if not url.startswith((folder.as_uri(), "data:")):
            yield f"asked for {url}"

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def column(table, place):
    return table.evaluate(f"(table) => [...table.tBodies[0].rows].map((row) => row.cells[{place}].innerText)")


def table_of(page, key):
    return page.locator(f'section[id="{key}"] table').first


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(visit, name, width):
    page = visit(name, width)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, name, scheme):
    page = visit(name, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    axe_finds_nothing_serious(page)


def axe_finds_nothing_serious(page):
    found = axe.Axe().run(page, options={"preload": False}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious] == []


def test_verdicts_picture_and_links_are_on_the_first_screen(visit):
    page = visit()
    for selector in (".verdicts", ".counts", ".panels svg", ".by-paper nav"):
        box = page.locator(selector).first.bounding_box()
        assert box["y"] + min(box["height"], 200) < 900, selector


def test_columns_sort_up_and_down_with_missing_values_last(visit):
    page = visit()
    table = table_of(page, "wang2020/table2")
    button = table.get_by_role("button", name="BLEU", exact=True)
    place = button.evaluate("(button) => button.parentElement.cellIndex")

    def values():
        return [float(text.split()[0]) for text in column(table, place)]

    button.click()
    assert values() == sorted(values(), reverse=True)
    button.click()
    assert values() == sorted(values())
    assert button.evaluate("(button) => button.parentElement.ariaSort") == "ascending"
    table.get_by_role("button", name="BLEU, published").click()
    printed = column(table, place + 1)
    assert printed == sorted(printed, key=lambda text: (not text, -float(text.rstrip("↑⇑") or 0)))


def test_rows_filter_by_all_words(visit):
    page = visit()
    box = page.locator("section:has(> .wide[aria-label='All models'])")
    box.get_by_role("searchbox").fill("retrain toy-big")
    shown = box.locator("tbody tr:visible").all_inner_texts()
    assert shown and all("retrain" in row and "toy-big" in row for row in shown)
    assert box.locator("output").inner_text().startswith(f"{len(shown)} of ")
    box.get_by_role("searchbox").fill("")
    assert box.locator("tbody tr:visible").count() > len(shown)


def test_published_columns_hide(visit):
    page = visit()
    section = page.locator('section[id="wang2020/table2"]')
    assert section.locator("td.published:visible").count() > 0
    section.get_by_label("Published values").uncheck()
    assert section.locator(".published:visible").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cell_says_seeds_and_interval_also_when_touched(visit, width):
    page = visit(width=width)
    cells = table_of(page, "wang2020/table2").locator("tbody td.ours[title*='seed 2']")
    cell = cells.and_(page.locator("[title*='95 % interval']")).last
    cell.click()
    bubble = page.get_by_role("tooltip")
    assert bubble.inner_text() == cell.get_attribute("title")
    assert cell.get_attribute("aria-describedby") == bubble.get_attribute("id")
    around, beside = bubble.bounding_box(), cell.bounding_box()
    assert around["x"] >= 0 and around["x"] + around["width"] <= width
    assert around["y"] >= 0 and around["y"] + around["height"] <= 900
    apart = max(around["y"] - beside["y"] - beside["height"], beside["y"] - around["y"] - around["height"])
    assert 0 <= apart < 10
    page.locator("h1").click()
    assert bubble.count() == 0


def focused(page):
    return page.evaluate("document.activeElement.closest('td, th')?.innerText ?? ''")


def test_a_table_is_one_tab_stop_and_arrow_keys_reach_what_its_cells_say(visit):
    page = visit()
    table = table_of(page, "wang2020/table2")
    stops = table.locator("[tabindex='0']")
    assert stops.count() == 1 and table.locator("a:not([tabindex]), button:not([tabindex])").count() == 0
    stops.focus()
    keys, cells = page.keyboard, table.locator("tbody tr").nth(1).locator("th, td").all_inner_texts()
    keys.press("ArrowDown")
    for text in cells:
        assert focused(page) == text
        keys.press("ArrowRight")
    assert focused(page) == cells[-1]
    keys.press("Home")
    assert focused(page) == cells[0]
    while "seed 2" not in (page.get_by_role("tooltip").all_inner_texts() or [""])[0]:
        keys.press("ArrowRight")
    assert page.evaluate("document.activeElement.title") == page.get_by_role("tooltip").inner_text()
    axe_finds_nothing_serious(page)
    keys.press("Escape")
    assert page.get_by_role("tooltip").count() == 0 and focused(page) in cells
    keys.press("Control+End")
    assert focused(page) == table.locator("tbody tr").last.locator("td").last.inner_text()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.closest('table') === null")
    keys.press("Shift+Tab")
    assert focused(page) == table.locator("tbody tr").last.locator("td").last.inner_text()


def test_the_keyboard_sorts_and_follows_links_in_a_table(visit):
    page = visit()
    table = table_of(page, "wang2020/table2")
    table.locator("[tabindex='0']").focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Enter")
    assert table.locator("thead th[aria-sort]").count() == 1
    page.keyboard.press("ArrowDown")
    while page.evaluate("document.activeElement.tagName") != "A":
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pages/**")


def test_a_table_keeps_a_tab_stop_when_its_row_or_column_is_hidden(visit):
    page = visit()
    box = page.locator("section:has(> .wide[aria-label='All models'])")
    stop = box.locator("table [tabindex='0']")
    before = stop.inner_text()
    box.get_by_role("searchbox").fill("retrain toy-big")
    assert stop.is_visible() and stop.inner_text() != before
    section = page.locator('section[id="wang2020/table2"]')
    published = section.locator("td.published[title]").first
    if published.count():
        published.click()
    section.get_by_label("Published values").uncheck()
    assert section.locator("table [tabindex='0']").is_visible()


def test_a_focused_cell_is_not_below_the_first_column_or_the_header(visit):
    page = visit(width=400)
    box = page.locator("section:has(> .wide[aria-label='All models']) > .wide")
    box.locator("[tabindex='0']").focus()
    for key in ("Control+End", "Home", "ArrowRight", *["ArrowUp"] * 12):
        page.keyboard.press(key)
    clear = page.evaluate("""() => {
      const cell = document.activeElement.closest('td'), box = cell.closest('.wide');
      const key = cell.parentElement.querySelector('th').getBoundingClientRect();
      const header = box.querySelector('thead th').getBoundingClientRect(), at = cell.getBoundingClientRect();
      return [at.left - key.right, at.top - header.bottom];
    }""")
    assert min(clear) >= -2


def test_a_wide_table_keeps_its_first_column_and_header_in_sight(visit):
    page = visit(width=400)
    box = page.locator("section:has(> .wide[aria-label='All models']) > .wide")
    box.evaluate("(box) => { box.scrollTo(300, 400); box.scrollIntoView(); }")
    edges = box.evaluate("""(box) => {
      const outer = box.getBoundingClientRect(), row = box.querySelector('tbody tr:nth-child(20)');
      const header = box.querySelector('thead th').getBoundingClientRect();
      return [row.querySelector('th').getBoundingClientRect().left - outer.left, header.top - outer.top];
    }""")
    assert edges == pytest.approx([0, 0], abs=2)


def test_captions_unfold_by_the_keyboard(visit):
    page = visit()
    summary = page.locator('section[id="wang2020/table2"] summary', has_text="How to read this")
    assert not page.get_by_text("Published: Wang et al. 2020, Table 2").is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("Published: Wang et al. 2020, Table 2").is_visible()


def test_claims_filter_by_verdict_and_a_link_unfolds_its_claim(visit):
    page = visit()
    name = page.locator(".chips button").nth(1).get_attribute("value")
    page.locator(".chips button").nth(1).click()
    shown = page.locator(".claim:visible")
    assert shown.count() > 0
    assert set(shown.evaluate_all("(all) => all.map((each) => each.dataset.verdict)")) == {name}
    hidden = page.locator(f".claim:not([data-verdict='{name}'])").first.get_attribute("id")
    page.evaluate(f"location.hash = '{hidden}'")
    page.wait_for_selector(f"details#{hidden}[open]")


def test_a_row_and_a_point_lead_to_the_page_of_their_model(visit):
    page = visit()
    table_of(page, "wang2020/table2").locator("tbody th a").nth(2).click()
    assert page.url.endswith("pages/toy/toy/s1/train/prune-local-50/retrain/rejuvenate-zero.html")
    assert page.locator(".chain li").count() == 4
    page.locator(".chain a").first.click()
    assert page.url.endswith("pages/toy/toy/s1/train.html")
    page.goto(page.url[: page.url.index("/pages/")] + "/index.html")
    link = page.locator(".panels a").first
    assert (link.get_attribute("href")).startswith("pages/")
    assert "BLEU" in link.get_attribute("aria-label")


def test_the_page_of_a_model_marks_how_its_translations_differ(visit):
    page = visit(MODEL)
    assert page.locator(".pair").count() >= 3
    assert page.locator(".pair mark").count() > 0
    assert page.locator("#training svg.plot path.line").count() == 2
    assert page.locator("#scores tbody tr").count() >= 2
    assert "export toy/toy/s1/train/prune-local-50/retrain" in page.locator("#deploy pre").first.inner_text()


def test_dark_and_light_follow_the_system_and_the_button(visit):
    def is_dark(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"

    light, dark = visit(), visit(scheme="dark")
    assert (is_dark(light), is_dark(dark)) == (False, True)
    light.get_by_role("button", name="Dark").click()
    dark.get_by_role("button", name="Light").click()
    assert (is_dark(light), is_dark(dark)) == (True, False)


def test_print_unfolds_everything(visit):
    page = visit()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_links_within_a_page_lead_somewhere(visit, name):
    assert visit(name).evaluate(DEAD_LINKS) == []


def test_figures_are_described_and_open_large(visit):
    page = visit()
    figure = page.locator('section[id="see2016/figure6"] figure a')
    assert "BLEU from " in figure.locator("img").get_attribute("alt")
    figure.click()
    assert page.url.endswith("see2016/figure6.svg")


def test_all_without_figures_weighs_little(folder):
    files = [file for file in Path(folder).rglob("*") if file.suffix in (".html", ".css", ".js")]
    assert sum(file.stat().st_size for file in files) < 3e6
