"""The report as readers use it: in Chromium, from a file, without a network."""

import os
import re
import shutil

import pytest
from playwright.sync_api import sync_playwright
from test_compare import ALIKE, BASE, BETTER, WORSE, Sweep

from regbench.platform.comparison import gallery
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.report import render

LARGEST = 2_500_000
TRIALS = 9


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two data sets; on each a baseline, and entries that are better, worse and alike, two of them tuned."""
    made = Sweep(tmp_path_factory.mktemp("sweep"), objectives=("val/accuracy", "val/nll"), modes=("max", "min"))
    for data in ("digits", "digits_noisy"):
        made.confirm("cross_entropy", BASE, data=data)
        made.tune("label_smoothing", TRIALS, data=data, stopped=(2, 5))
        made.confirm("label_smoothing", BETTER, data=data)
        made.confirm("label_smoothing", ALIKE, data=data, stage="ablate")
        made.confirm("mixup", WORSE, data=data)
        made.confirm("alike", ALIKE, data=data, method="confidence_penalty")
    made.describe(description="A sweep", trials=TRIALS)
    return compare(made.records)


@pytest.fixture(scope="module")
def address(comparison, tmp_path_factory):
    html = render(comparison)
    assert len(html.encode()) < LARGEST
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root.
        started = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=os.geteuid() != 0)
        yield started
        started.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page; in the end, nothing was asked of a network, and nothing was complained about."""
    contexts, asked, said = [], [], []

    def open_page(width=1400, height=1000, **more):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **more))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(asked) == {address}
    assert said == []


def chart(page, heading):
    """The first chart below a heading, when it has been drawn by scripts."""
    place = page.locator(f"xpath=(//h3[normalize-space()='{heading}'])[1]/following-sibling::div[1]/div[@data-chart]").first
    place.scroll_into_view_if_needed()
    place.locator("xpath=self::*[@data-drawn]").wait_for()
    return place


def entries(page):
    """The entries of the first answer table that are shown, from the top."""
    return page.locator("table.answer").first.locator("tbody tr:visible .pick").all_inner_texts()


def labels(place):
    """The names at the rows of a forest, without symbols."""
    return {text[2:] for text in place.locator("text").all_text_contents() if text[:1] in "▲▼=?"}


def test_columns_sort_both_ways_and_missing_numbers_stay_last(opened):
    page = opened()
    assert entries(page) == ["label_smoothing", "cross_entropy", "alike", "mixup"]
    head = page.locator("table.answer").first.get_by_text("difference", exact=False).first
    head.click()
    assert entries(page) == ["label_smoothing", "alike", "mixup", "cross_entropy"]
    head.click()
    assert entries(page) == ["mixup", "alike", "label_smoothing", "cross_entropy"]
    page.locator("table.answer thead th").first.press("Enter")
    assert entries(page) == ["alike", "cross_entropy", "label_smoothing", "mixup"]


def test_entries_are_filtered_from_tables_and_charts(opened):
    page = opened()
    forest = chart(page, "Differences to the baseline")
    assert labels(forest) == {"label_smoothing", "mixup", "alike"}
    height = forest.bounding_box()["height"]
    page.locator(".tools summary").first.click()
    page.locator("input[name=entry][value=mixup]").uncheck()
    assert entries(page) == ["label_smoothing", "cross_entropy", "alike"]
    assert page.locator("#shown-entries").inner_text() == "3 of 4"
    page.wait_for_function("(place) => !place.textContent.includes('mixup')", arg=forest.element_handle())
    assert labels(forest) == {"label_smoothing", "alike"}
    assert forest.bounding_box()["height"] < height
    page.locator("[data-every=entry]").click()
    assert len(entries(page)) == 4


def test_data_sets_are_filtered_from_the_matrix_and_the_page(opened):
    page = opened()
    page.locator(".tools summary").nth(1).click()
    page.locator("input[name=place]").nth(1).uncheck()
    assert page.locator("table.matrix thead th:visible").all_inner_texts() == ["entry", "digits"]
    assert page.locator("section h2:visible").all_inner_texts()[:1] == ["classification on digits"]
    assert page.locator("#table-2").is_hidden()


def test_an_entry_is_highlighted_in_every_table_and_chart(opened):
    page = opened()
    forest, curves = chart(page, "Differences to the baseline"), chart(page, "Learning curves")

    def opacities(place):
        found = place.locator("[aria-roledescription='point'], [aria-roledescription='line mark']")
        return {
            float(value) for value in found.evaluate_all("(marks) => marks.map((mark) => mark.getAttribute('opacity') ?? 1)")
        }

    assert opacities(forest) == opacities(curves) == {1.0}
    page.locator("table.answer .pick", has_text="mixup").first.click()
    page.wait_for_function("(place) => place.querySelector('[opacity=\"0.12\"]')", arg=curves.element_handle())
    assert opacities(forest) == opacities(curves) == {1.0, 0.12}
    chosen = page.locator("tr.chosen").evaluate_all("(rows) => [...new Set(rows.map((row) => row.dataset.entry))]")
    assert chosen == ["mixup"]
    # A click on a mark chooses, too.
    mark = forest.locator("[aria-roledescription='point'][aria-label*='alike']").first
    mark.dispatch_event("click")
    assert page.locator("#chosen").inner_text() == "alike"
    page.locator("#clear").click()
    assert page.locator(".chosen").count() == 0


def test_a_mark_under_the_pointer_tells_its_exact_values(opened, comparison):
    page = opened()
    forest = chart(page, "Differences to the baseline")
    forest.locator("[aria-roledescription='point'][aria-label*='mixup']").first.hover()
    told = page.locator("#vg-tooltip-element.visible")
    told.wait_for()
    row = comparison.of("entries", "classification", "digits").set_index("entry").loc["mixup"]
    assert f"{row['difference_value']:+.4f}".replace("-", "−") in told.inner_text()
    assert "worse" in told.inner_text()


def test_brushes_on_axes_keep_the_trials_that_pass_through_all_of_them(opened, comparison):
    page = opened()
    page.locator("summary", has_text="Tuning trials").first.click()
    page.locator("details details summary", has_text="label_smoothing").first.click()
    place = page.locator("details details .chart[data-drawn]").first
    place.wait_for()
    place.scroll_into_view_if_needed()
    trials = comparison.of("sensitivity", "classification", "digits").drop_duplicates("trial")
    assert f"{TRIALS} of {TRIALS} trials" in place.text_content()

    def brush(axis, begin, end):
        """From one share of an axis, counted from its top, to another."""
        box = place.locator(f".strip{axis} path").bounding_box()
        x = box["x"] + box["width"] / 2
        page.mouse.move(x, box["y"] + begin * box["height"])
        page.mouse.down()
        page.mouse.move(x, box["y"] + end * box["height"], steps=4)
        page.mouse.up()

    def count():
        return int(re.search(rf"(\d+) of {TRIALS} trials", place.text_content())[1])

    objective = trials["objective"]
    brush(2, 0.5, 0.0)
    kept = count()
    assert 0 < kept < TRIALS
    # The axis begins and ends at round numbers: its middle lies between the values that were kept and the others.
    assert objective.nlargest(kept).min() > objective.nsmallest(TRIALS - kept).max()
    brush(1, 0.99, 0.5)
    best = trials.nlargest(kept, "objective")["trial"]
    wide = comparison.of("sensitivity", "classification", "digits").pivot(index="trial", columns="setting", values="value")
    assert count() == (wide.loc[best, "optimizer"] == "adam").sum()
    brush(1, 0.5, 0.5)
    brush(2, 0.5, 0.5)
    assert count() == TRIALS


def test_without_scripts_everything_but_parallel_coordinates_is_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".headline").first.is_visible()
    assert entries(page) == ["label_smoothing", "cross_entropy", "alike", "mixup"]
    assert page.locator(".tools").is_hidden()
    shown = page.locator(".chart svg[role=img]:visible")
    # A forest, two curves, one weight and a trade-off for each data set, and ranks.
    assert shown.count() == 2 * 5 + 1
    assert all(box["width"] > 150 for box in (shown.nth(i).bounding_box() for i in range(shown.count())))


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_telephone_needs_no_sideways_scrolling(opened, scripts):
    page = opened(width=400, java_script_enabled=scripts)
    if scripts:
        chart(page, "Learning curves")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    box = page.locator("table.answer").first.bounding_box()
    assert box["x"] + box["width"] <= 400


def test_charts_follow_the_page_into_the_dark(opened):
    colours = set()
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        forest = chart(page, "Differences to the baseline")
        text, mark = page.locator("body"), forest.locator("text").first
        colours.add(text.evaluate("(element) => getComputedStyle(element).color"))
        assert mark.evaluate("(element) => getComputedStyle(element).fill") in colours
    assert len(colours) == 2


def test_paper_has_what_is_folded(opened):
    page = opened(java_script_enabled=False)
    page.emulate_media(media="print")
    assert page.locator("summary", has_text="Tuned settings").first.locator("xpath=../div").is_visible()


def test_charts_beyond_the_room_of_a_page_are_left_to_its_scripts(comparison, monkeypatch):
    whole = render(comparison)
    monkeypatch.setattr(gallery, "ROOM", 20_000)
    small = render(comparison)
    assert 2 < small.count('role="img"') < whole.count('role="img"')
    # What answers the question is always there.
    assert small.count('aria-label="Differences to the baseline') == 2
    assert small.count("Drawn by scripts: ") > whole.count("Drawn by scripts: ")
