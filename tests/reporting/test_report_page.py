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


def test_in_a_browser(written):
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is not tested: no playwright")
    if CHROMIUM is None:
        pytest.skip("the page is not tested: no Chromium found (XMTC_CHROMIUM=PATH names one)")
    complaints = []
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(written.as_uri())
        assert page.locator("table").count() == 4  # means, differences, runs, printed
        assert page.locator("svg").count() == 5 and page.locator("svg g.line").count() == 10
        assert page.locator("svg rect.bar").count() == 18
        for box in page.locator("svg").all():
            size = box.bounding_box()
            assert size["width"] > 200 and size["height"] > 100
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # a phone scrolls tables alone
        assert "failed" in page.locator("tr.bad").inner_text()
        heads = lambda: page.locator("table >> nth=0 >> tbody tr td:nth-child(2)").all_inner_texts()  # noqa: E731
        column = page.locator("table >> nth=0 >> th", has_text="P@1").locator("button")
        column.click()
        assert heads() == ["lcenet", "none", "cornet"]  # what has no number is last, whichever way
        column.click()
        assert heads() == ["none", "lcenet", "cornet"]
        page.locator(".legend input").nth(1).uncheck()
        hidden = page.eval_on_selector_all("g.line", "all => all.filter(e => e.style.display === 'none').length")
        assert hidden == 4  # two seeds in two pictures
        browser.close()
    assert complaints == []


def test_what_heads_add_in_a_browser(grid, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is not tested: no playwright")
    if CHROMIUM is None:
        pytest.skip("the page is not tested: no Chromium found (XMTC_CHROMIUM=PATH names one)")
    for fraction in (0.25, 1.0):
        for encoder in ("bow", "<b>x"):
            for head, skill in (("none", 0.5), ("lcenet", 0.9), ("cornet", 0.2)):
                name = "markup" if encoder != "bow" else "bow"
                grid(head, fraction, 0, skill, encoder=encoder, frequency=range(30, 0, -1), where=name)
    assert main([str(tmp_path), "--gains", "--resamples", "100", "--output", str(tmp_path / "out")]) == 0
    complaints = []
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "out" / "report.html").as_uri())
        section = page.locator("section", has=page.locator("h2", has_text="what a head adds"))
        assert section.locator("table").count() == 3  # at a glance, by frequency, cell by cell
        assert [table.locator("tbody tr").count() for table in section.locator("table").all()] == [4, 8, 8]
        assert section.locator("svg").count() == 2 + 4  # an encoder; an encoder and share of the documents
        assert section.locator("svg >> nth=0 >> g.line").count() == 2
        assert section.locator("svg >> nth=0 >> g.line circle").count() == 4  # two heads, two shares
        assert section.locator("svg >> nth=2 >> g.line circle").count() == 6  # two heads, three bins
        for number in range(6):
            size = section.locator("svg").nth(number).bounding_box()
            assert size["width"] > 200 and size["height"] > 100
        column = section.locator("table >> nth=0 >> th", has_text="fraction 1.0").locator("button")
        column.click()
        heads = section.locator("table >> nth=0 >> tbody tr td:nth-child(2)").all_inner_texts()
        assert heads == ["lcenet", "lcenet", "cornet", "cornet"]  # by the gain, the text behind it notwithstanding
        section.locator(".legend input").nth(0).uncheck()
        hidden = "all => all.filter(e => e.style.display === 'none').length"
        assert section.locator("g.line").evaluate_all(hidden) == 6
        assert page.locator("g.line").evaluate_all(hidden) == 6  # curves of runs have their own legend
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert complaints == []
    assert "<b>x" not in (tmp_path / "out" / "report.html").read_text()


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
