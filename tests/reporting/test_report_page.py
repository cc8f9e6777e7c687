"""report.html in headless Chromium: tables and plots are there, columns sort, nothing is asked of the network."""

import os
import re
import shutil

import pytest

from xmtc.report import main
from xmtc.reporting.svg import Line, bars, curves, intervals, ticks

CHROMIUM = os.environ.get("XMTC_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()


@pytest.fixture
def written(make_run, tmp_path):
    """A report of three configurations, one of which failed, with names that could be markup."""
    for seed in range(2):
        make_run(f"s/none{seed}", seed=seed, skill=0.2)
        make_run(f"s/lcenet{seed}", head="lcenet", seed=seed, score=0.6, skill=0.9)
    make_run("s/broken", encoder="<b>x", head="cornet", complete=False, ended="failed")
    (tmp_path / "printed.csv").write_text("dataset,system,P@1,source\ntoy,Theirs,61.00,<i>A paper</i>\n")
    words = [str(tmp_path / "s"), "--printed", str(tmp_path), "--resamples", "200"]
    assert main(words) == 0
    return tmp_path / "s" / "report.html"


def test_one_file_that_needs_nothing_else(written):
    text = written.read_text()
    assert not re.search(r'(src|href)="|@import|url\(|https?://', text)
    assert "<b>x" not in text and "<i>A paper" not in text


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is not tested: no playwright")
    if CHROMIUM is None:
        pytest.skip("the page is not tested: no Chromium found (XMTC_CHROMIUM=PATH names one)")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """`open_page(path)`: on a phone's screen; what the browser complains of fails the test."""
    page, complaints = browser.new_page(viewport={"width": 390, "height": 800}), []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def start(path):
        page.goto(path.as_uri())
        return page

    yield start
    page.close()
    assert complaints == []


def drawn(pictures):
    return all(size["width"] > 200 and size["height"] > 100 for size in (box.bounding_box() for box in pictures.all()))


def hidden(lines):
    return lines.evaluate_all("all => all.filter(e => e.style.display === 'none').length")


def cells(table, column):
    return table.locator(f"tbody tr td:nth-child({column})").all_inner_texts()


def within_the_screen(page):
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # a phone scrolls tables alone


def test_in_a_browser(open_page, written):
    page = open_page(written)
    assert page.locator("table").count() == 4  # means, differences, runs, printed
    assert page.locator("svg").count() == 5 and page.locator("svg g.line").count() == 10
    assert page.locator("svg rect.bar").count() == 18
    assert drawn(page.locator("svg")) and within_the_screen(page)
    assert "failed" in page.locator("tr.bad").inner_text()
    means = page.locator("table").nth(0)
    column = means.locator("th", has_text="P@1").locator("button")
    column.click()
    assert cells(means, 2) == ["lcenet", "none", "cornet"]  # what has no number is last, whichever way
    column.click()
    assert cells(means, 2) == ["none", "lcenet", "cornet"]
    page.locator(".legend input").nth(1).uncheck()
    assert hidden(page.locator("g.line")) == 4  # two seeds in two pictures


def test_what_heads_add_in_a_browser(open_page, grid, tmp_path):
    for fraction in (0.25, 1.0):
        for encoder in ("bow", "<b>x"):
            for head, skill in (("none", 0.5), ("lcenet", 0.9), ("cornet", 0.2)):
                name = "markup" if encoder != "bow" else "bow"
                grid(head, fraction, 0, skill, encoder=encoder, frequency=range(30, 0, -1), where=name)
    assert main([str(tmp_path), "--gains", "--resamples", "100", "--output", str(tmp_path / "out")]) == 0
    assert "<b>x" not in (tmp_path / "out" / "report.html").read_text()
    page = open_page(tmp_path / "out" / "report.html")
    section = page.locator("section", has=page.locator("h2", has_text="what a head adds"))
    tables, pictures = section.locator("table"), section.locator("svg")
    assert [table.locator("tbody tr").count() for table in tables.all()] == [
        4,
        8,
        8,
    ]  # at a glance, by frequency, by cell
    assert pictures.count() == 2 + 4  # an encoder; an encoder and share of the documents
    assert pictures.nth(0).locator("g.line").count() == 2
    assert pictures.nth(0).locator("g.line circle").count() == 4  # two heads, two shares
    assert pictures.nth(2).locator("g.line circle").count() == 6  # two heads, three bins
    assert drawn(pictures) and within_the_screen(page)
    tables.nth(0).locator("th", has_text="fraction 1.0").locator("button").click()
    # by the gain, the text behind it notwithstanding
    assert cells(tables.nth(0), 2) == ["lcenet", "lcenet", "cornet", "cornet"]
    section.locator(".legend input").nth(0).uncheck()
    assert hidden(section.locator("g.line")) == 6
    assert hidden(page.locator("g.line")) == 6  # curves of runs have their own legend


def test_intervals_of_one_point_and_of_none():
    one = intervals(["a"], [("h & i", "#000000", [(1.0, 2.0, 3.0)])], (1.0, 3.0), "x", "y", "t")
    assert "h &amp; i" in one and "nan" not in one and one.count("<circle") == 1
    assert (
        intervals(["a", "b"], [("h", "#000000", [None, (0.0, 0.0, 0.0)])], (0.0, 0.0), "x", "y", "t").count("<circle")
        == 1
    )


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(33.2, 71) == [40, 50, 60, 70]
    assert ticks(3, 3) == [3] and ticks(0, 120_000) == [0, 50_000, 100_000]


def test_pictures_of_nothing_and_of_one_point():
    assert curves([], "x", "y", "t") == "" and bars(["head"], [], "y", "t") == ""
    one = curves([Line("a & b", [(1.0, 2.0)], "#000000")], "x", "y", "t")
    assert "a &amp; b" in one and "nan" not in one
    assert bars(["head", "tail"], [("a", "#000000", [0.0, None])], "y", "t").count("<rect") == 1
