"""report.html in headless Chromium: tables and plots are there, columns sort, nothing is asked of the network."""

import re
from pathlib import Path

import numpy as np
import pytest

from xmtc.report import main
from xmtc.reporting import svg
from xmtc.reporting.styles import COLOURS, Style, bar, mark, styles
from xmtc.reporting.svg import Line, bars, curves, intervals, ticks


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
    pictures = page.locator(".pictures svg")
    assert pictures.count() == 5 and pictures.locator("g.line").count() == 10
    assert pictures.locator("g.bar").count() == 18
    assert drawn(pictures) and within_the_screen(page)
    assert "failed" in page.locator("tr.bad").inner_text()
    means = page.locator("table").nth(0)
    column = means.locator("th", has_text="P@1").locator("button")
    column.click()
    assert cells(means, 2) == ["lcenet", "none", "cornet"]  # what has no number is last, whichever way
    column.click()
    assert cells(means, 2) == ["none", "lcenet", "cornet"]
    page.locator(".legend input").nth(1).uncheck()
    assert hidden(page.locator("g.line")) == 4  # two seeds in two pictures
    assert hidden(page.locator("g.bar")) == 9  # three parts of the labels in three pictures


def test_each_of_24_configurations_is_seen_in_curves_bars_and_legend(open_page, make_run, tmp_path):
    """Looks at the pixels of the legend's keys, and at what the pictures are drawn with."""
    for rank in range(24):
        make_run(f"s/{rank}", head="lcenet", rank=rank)
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    page = open_page(tmp_path / "s" / "report.html")
    assert page.locator(".legend").count() == 1 and within_the_screen(page)
    kind = "(all, s) => all.map(e => [e.dataset.name, e.getAttribute('fill'), e.querySelector(s).outerHTML])"
    for parts, shapes in (("g.line", ".mark"), ("g.bar", ":scope > :not(title)")):
        drawn = page.locator(".pictures svg").locator(parts).evaluate_all(kind, shapes)
        looks = {name: (colour, re.sub(r'"[^"]*\d[^"]*"', "", shape)) for name, colour, shape in drawn}
        assert len(looks) == 24 == len(set(looks.values())), parts
        colours = {name: colour for name, (colour, _) in looks.items()}
        assert colours == {e["name"]: e["colour"] for e in page.locator(".legend li").evaluate_all(
            "all => all.map(e => ({name: e.innerText.trim(), colour: e.querySelector('.key g').getAttribute('fill')}))"
        )}  # fmt: skip
    keys = {box.screenshot() for box in page.locator(".legend .key").all()}
    assert len(keys) == 24


def test_bars_alone_have_a_legend(open_page, make_run, tmp_path):
    """Models that are fitted at once leave no curve that could be drawn, and a phone cannot point at a bar."""
    for encoder in ("br", "cc"):
        make_run(f"s/{encoder}", encoder=encoder, curve=())
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    page = open_page(tmp_path / "s" / "report.html")
    assert page.locator("g.line").count() == 0 and page.locator("g.bar").count() == 18
    assert page.locator(".legend li").all_inner_texts() == ["br none", "cc none"]
    page.locator(".legend input").nth(0).uncheck()
    assert hidden(page.locator("g.bar")) == 9


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
    tables, pictures = section.locator("table"), section.locator(".pictures svg")
    assert [table.locator("tbody tr").count() for table in tables.all()] == [
        4,
        8,
        8,
    ]  # at a glance, by frequency, by cell
    assert pictures.count() == 2 + 4  # an encoder; an encoder and share of the documents
    assert pictures.nth(0).locator("g.line").count() == 2
    assert pictures.nth(0).locator("g.line .mark").count() == 4  # two heads, two shares
    assert pictures.nth(2).locator("g.line .mark").count() == 6  # two heads, three bins
    assert drawn(pictures) and within_the_screen(page)
    tables.nth(0).locator("th", has_text="fraction 1.0").locator("button").click()
    # by the gain, the text behind it notwithstanding
    assert cells(tables.nth(0), 2) == ["lcenet", "lcenet", "cornet", "cornet"]
    section.locator(".legend input").nth(0).uncheck()
    assert hidden(section.locator("g.line")) == 6
    assert hidden(page.locator("g.line")) == 6  # curves of runs have their own legend


def test_intervals_of_one_point_and_of_none():
    black = Style("#000000")
    one = intervals(["a"], [("h & i", black, [(1.0, 2.0, 3.0)])], (1.0, 3.0), "x", "y", "t")
    assert "h &amp; i" in one and "nan" not in one and one.count("<circle") == 1
    two = intervals(["a", "b"], [("h", black, [None, (0.0, 0.0, 0.0)])], (0.0, 0.0), "x", "y", "t")
    assert two.count("<circle") == 1


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(33.2, 71) == [40, 50, 60, 70]
    assert ticks(3, 3) == [3] and ticks(0, 120_000) == [0, 50_000, 100_000]


def test_pictures_of_nothing_and_of_one_point():
    assert curves([], "x", "y", "t") == "" and bars(["head"], [], "y", "t") == ""
    one = curves([Line("a & b", [(1.0, 2.0)], Style("#000000"))], "x", "y", "t")
    assert "a &amp; b" in one and "nan" not in one
    assert bars(["head", "tail"], [("a", Style("#000000"), [0.0, None])], "y", "t").count("<rect") == 1


def test_24_names_have_24_styles_drawn_differently():
    found = list(styles(map(str, range(24))).values())
    assert len(set(found)) == 24
    for draw in (mark, bar):
        kinds = {draw(Style("", style.mark), *(5.0,) * (2 if draw is mark else 4)) for style in found}
        assert len(kinds) == 3


MACHADO = {  # of dichromats: Machado, Oliveira and Fernandes 2009, table 1, severity 1.0; of linear RGB
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def test_colours_differ_for_every_eye_and_from_both_grounds():
    def linear(colours):
        rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)

    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def differences(rgb):
        xyz = rgb.clip(0, 1) @ to_xyz.T / (0.95047, 1, 1.08883)
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)
        return np.linalg.norm(lab[:, None] - lab[None], axis=-1)

    rgb, numbers = linear(COLOURS), np.arange(len(COLOURS))
    assert differences(rgb)[~np.eye(8, dtype=bool)].min() > 40
    same_mark = (numbers[:, None] % 3 == numbers[None] % 3) & (numbers[:, None] != numbers[None])
    for matrix in MACHADO.values():
        seen = differences(rgb @ np.array(matrix).T)
        assert seen[~np.eye(8, dtype=bool)].min() > 17 and seen[same_mark].min() > 33
    page = (Path(svg.__file__).parent / "page.html").read_text()
    for ground in re.findall(r"--ground: (#\w{6})", page):
        light = sorted([(rgb @ to_xyz[1]), np.full(8, (linear([ground]) @ to_xyz[1])[0])], key=lambda each: each[0])
        assert ((light[1] + 0.05) / (light[0] + 0.05)).min() > 3, ground
