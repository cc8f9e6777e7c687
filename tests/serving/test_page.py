"""The page at /, in headless Chromium: what a person sees and types."""

import os
import re
from pathlib import Path

import pytest


@pytest.fixture
def open_page(browser, run_server):
    """`open_page(server=None, **options)`: a fresh tab on the page; complaints of the browser fail the test."""
    contexts, complaints = [], []

    def start(server=None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(
            [] if request.url.startswith(("http://127.0.0.1:", "data:")) else [f"asked {request.url}"]))  # fmt: skip
        page.goto((server or run_server()).url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert [line for line in complaints if "401" not in line] == []


def rows(page):
    page.wait_for_selector("li")
    return [item.inner_text().split("\n") for item in page.query_selector_all("li")]


def classes(page):
    return [item.get_attribute("class") for item in page.query_selector_all("li")]


def test_a_text_by_keyboard_alone(open_page, until):
    page = open_page()
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("abc")
    page.keyboard.press("Control+Enter")
    assert [row[:2] for row in rows(page)[:3]] == [["1", "Label 4l4"], ["2", "Label 3l3"], ["3", "Label 5l5"]]
    assert rows(page)[0][2:] == ["▲ 1", "90 %"] and rows(page)[1][2:] == ["▼ 1", "45 %"]
    assert classes(page)[:3] == ["promoted", "demoted", "same"] and len(classes(page)) == 10
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    assert [row[1] for row in rows(page)[:2]] == ["Label 3l3", "Label 4l4"]
    assert page.is_checked("#raw")
    page.keyboard.press("r")
    assert page.is_checked("#enhanced")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text" and page.input_value("#text") == "abc"
    page.fill("#k", "3")
    page.keyboard.press("Enter")
    until(lambda: page.locator("li").count() == 3)


def test_bars_are_as_long_as_the_probability(open_page):
    page = open_page()
    page.fill("#text", "abc")
    page.click("#go")
    rows(page)
    width = "e.getBoundingClientRect().width"
    shares = page.eval_on_selector_all(
        ".fill", f"bars => bars.map(e => [e, e.parentElement].map(e => {width})).map(([bar, track]) => bar / track)"
    )
    assert shares[:2] == pytest.approx([0.9, 0.45], abs=0.01)


def test_the_switch_is_absent_without_a_head(open_page, run_server, fake):
    fake.has_head = False
    page = open_page(run_server())
    page.click("#go")
    rows(page)
    assert not page.is_visible("#which") and page.query_selector_all(".move") == []
    assert "head none" in page.inner_text("#about") and "12 labels" in page.inner_text("#about")


def test_names_are_text_and_never_markup(open_page, run_server, fake):
    original = fake._answer

    def answer(*arguments):
        made = original(*arguments)
        made.names = ["<img src=x onerror=alert(1)>" for _ in made.names]
        return made

    fake._answer = answer
    page = open_page(run_server())
    page.click("#go")
    assert rows(page)[0][1].startswith("<img") and page.query_selector("li img") is None


def test_refusals_are_shown(open_page, run_server):
    page = open_page(run_server(max_text=5))
    page.fill("#text", "ab")
    page.click("#go")
    rows(page)
    page.evaluate("void (fetch = () => Promise.reject(new TypeError('no')))")
    page.click("#go")
    page.wait_for_selector("#status.bad")
    assert "cannot be reached" in page.inner_text("#status")


def test_the_token_is_asked_for(open_page, run_server):
    page = open_page(run_server(token="secret"))
    page.click("#go")
    page.wait_for_selector("#token", state="visible")
    page.keyboard.type("secret")
    page.keyboard.press("Enter")
    rows(page)
    page.reload()
    page.click("#go")
    rows(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_at_any_width(open_page, tmp_path, scheme):
    page = open_page(color_scheme=scheme)
    page.fill("#text", "abc " * 50)
    page.click("#go")
    rows(page)
    ratios = page.evaluate(CONTRAST)
    assert min(ratios.values()) >= 4.5, ratios  # WCAG AA
    shots = Path(os.environ.get("XMTC_SCREENSHOTS", tmp_path))
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        page.screenshot(path=shots / f"page_{width}_{scheme}.png", full_page=True)


CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
      .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = {};
  for (const q of ['#about', '.name', '.id', '.share', '.rank', '#status', '.promoted .move', '.demoted .move',
                   '#go', '.hint', '#text', 'fieldset label', 'input:checked + label']) {
    const e = document.querySelector(q), colours = [getComputedStyle(e).color, back(e)];
    const [a, b] = colours.map(light).sort((x, y) => x - y);
    found[q] = (b + 0.05) / (a + 0.05);
  }
  return found;
}"""


def test_nothing_on_the_page_comes_from_elsewhere():
    page = (Path(__file__).parents[2] / "xmtc" / "serving" / "page.html").read_text()
    assert re.findall(r"https?://|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|src=", page) == []
