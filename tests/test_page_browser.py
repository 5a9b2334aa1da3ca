"""A run's page in a real browser, Debian's Chromium: what it draws, what can be done with it, and
who can read it. Skipped where there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests import pages
from tuner.page.keeper import page_text, write_page
from tuner.page.reading import read_report
from tuner.runs import Run
from tuner.throttle import Throttle

CHROMIUM = shutil.which("chromium")
PATIENCE = 120_000
"""Milliseconds: the charts are drawn by a software renderer, on machines with other work."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium (apt-get install chromium)"
)


@dataclass
class Opened:
    """A page that has drawn its charts, and what the browser said and asked for meanwhile."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def traces(self, chart: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(
            "id => document.getElementById(id).data.map(t => ({...t}))", chart
        )
        return found

    def column(self, number: int) -> list[str]:
        return self.page.locator(f"#table tbody td:nth-child({number})").all_inner_texts()


def opened(browser: Browser, file: Path, scheme: Any, width: int = 1280) -> Opened:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    found = Opened(context.new_page())
    found.page.set_default_timeout(PATIENCE)
    found.page.on("console", lambda it: found.said.append(it.text) if it.type == "error" else None)
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    found.page.on("dialog", lambda dialog: found.said.append(f"a dialog: {dialog.message}"))
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.goto(file.as_uri(), wait_until="commit")
    found.page.wait_for_selector("body[data-charts]", state="attached")
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(pages.make_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--enable-unsafe-swiftshader"],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def light(browser: Browser, file: Path) -> Opened:
    return opened(browser, file, "light")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that a driver left behind when it died, three days ago; a single trial finished."""
    run = pages.make_run(tmp_path_factory.mktemp("left"), trials=pages.TRIALS[1:5], winner=0)
    text = page_text(run, True, Throttle(15.0))
    left = run.folder / "left.html"
    long_ago = (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="seconds")
    left.write_text(re.sub(r'datetime="[^"]+"', f'datetime="{long_ago}"', text))
    return left


@pytest.fixture(scope="module")
def dark(browser: Browser, left: Path) -> Opened:
    """The dark one is a phone's."""
    return opened(browser, left, "dark", width=360)


def severe(page: Page) -> list[str]:
    response = Axe().run(page).response
    assert len(response["passes"]) > 10
    found = response["violations"]
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_nothing_leaves_the_page_and_nothing_goes_wrong(
    light: Opened, dark: Opened, file: Path, left: Path
) -> None:
    for each, shown in ((light, file), (dark, left)):
        assert each.page.evaluate("document.body.dataset.charts") == "drawn"
        assert each.said == []
        assert [url for url in each.asked if not url.startswith(("data:", "blob:"))] == [
            shown.as_uri()
        ]


def test_a_page_looks_for_a_newer_one_less_and_less_where_none_comes(
    light: Opened, dark: Opened
) -> None:
    said = dark.page.locator("#written").inner_text()
    assert "has not been written for 3 days: its driver may be gone" in said
    assert "no longer looks for news" in said
    ages = [1, 599, 601, 3600, 80_000]
    waits = dark.page.evaluate("ages => ages.map(age => pace(age).wait)", ages)
    assert waits == [15, 15, 601 / 4, 900, 20_000]
    assert dark.page.evaluate("pace(90000).wait") == float("inf")
    # A run's last page knows nothing of it.
    assert light.page.evaluate("typeof pace") == "undefined"


def test_texts_of_data_stay_texts(light: Opened) -> None:
    assert light.page.locator("img").count() == 0
    assert light.page.locator("h1").inner_text() == pages.NAME
    assert "<img src=x onerror=alert(1)>" in light.page.locator(".errors").inner_text()
    assert "<img src=x onerror=alert(1)>" in light.page.locator("#table").inner_text()
    assert light.page.locator("#confusion").inner_text().count("<") > 0


def test_each_chart_has_the_data_it_should(light: Opened, file: Path) -> None:
    page = read_report(Run(file.parent))
    curves = {trace["name"]: trace for trace in light.traces("curves")}
    assert set(curves) == {f"winner {pages.WINNER}", "finished", "stopped", "failed"}
    assert curves["winner t001"]["y"] == [0.52, 0.7, 0.81, None]
    stopped = [y for y in curves["stopped"]["y"] if y is not None]
    assert len(stopped) == sum(
        len(told.values) for told in pages.TRIALS if told.status == "stopped"
    )
    shapes = light.page.evaluate("document.getElementById('curves').layout.shapes.map(s => s.x0)")
    assert shapes == pytest.approx([100 / 9, 100 / 3, 100])
    for number, axis in enumerate(page.points.axes):
        drawn = light.traces(f"points-{number}")
        # A failed trial has no score.
        assert sum(len(trace["y"]) for trace in drawn) == len(pages.TRIALS) - 1
        kind = light.page.evaluate(
            "id => document.getElementById(id).layout.xaxis.type", f"points-{number}"
        )
        assert (kind == "log") == axis.log
    (parallel,) = light.traces("parallel")
    assert [len(each["values"]) for each in parallel["dimensions"]] == [11] * (
        len(page.points.axes) + 2
    )
    (bars,) = light.traces("importance")
    assert sum(bars["x"]) == pytest.approx(100)
    best = light.traces("best")
    assert best[0]["y"] == page.best.scores
    assert best[1]["y"][-1] == 0.81
    work = light.traces("work")
    assert sum(len(trace["x"]) for trace in work) == len(page.work)
    (heat,) = light.traces("confusion")
    assert page.final is not None
    assert page.final.confusion is not None
    assert [cell[0].split("<")[0] for cell in heat["text"]] == [
        str(row[0]) for row in page.final.confusion
    ]


def test_a_single_score_has_an_axis_of_its_own_size(dark: Opened) -> None:
    best, line = dark.traces("best")
    assert best["y"] == [0.81]
    assert line["y"] == [0.81, 0.81]
    axes = dark.page.evaluate(
        "(({xaxis, yaxis}) => [xaxis.range, yaxis.range])"
        "(document.getElementById('best')._fullLayout)"
    )
    assert axes[1] == pytest.approx([0.95 * 0.81, 1.05 * 0.81])
    assert axes[0][0] == 0
    assert axes[0][1] == pytest.approx(1.03 * line["x"][-1])


def test_curves_can_be_drawn_against_epochs_and_steps(light: Opened) -> None:
    light.page.get_by_label("steps").check()
    steps = {t["name"]: t["x"] for t in light.traces("curves")}["winner t001"]
    light.page.get_by_label("share of the schedule").check()
    assert steps == [10, 30, 90, None]


def test_the_table_sorts_by_mouse_and_by_keyboard(light: Opened) -> None:
    page = light.page
    assert light.column(2)[0] == pages.WINNER
    head = page.locator("#table th", has_text="lr").first
    place = page.locator("#table th").all_inner_texts().index(head.inner_text()) + 1
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rates = [float(text) for text in light.column(place)]
    assert rates == sorted(rates)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in light.column(place)] == sorted(rates, reverse=True)
    assert page.locator("#table th[aria-sort]").count() == 1
    rank = page.locator("#table th", has_text="rank")
    rank.get_by_role("button").click()
    assert light.column(1)[: pages.FINISHED] == ["1", "2", "3", "4", "5"]
    rank.get_by_role("button").click()
    assert light.column(1)[: pages.FINISHED] == ["5", "4", "3", "2", "1"]  # no rank is last, too
    rank.get_by_role("button").click()


def test_the_table_is_filtered_by_words_and_by_status(light: Opened) -> None:
    page = light.page
    page.get_by_label("Filter").fill("OUT memory")
    assert light.column(2) == ["t004"]
    assert page.locator("#shown").inner_text() == "1 of 12 rows"
    page.get_by_label("Filter").fill("")
    page.get_by_label("Status").select_option("stopped")
    assert set(light.column(3)) == {"stopped"}
    assert len(light.column(3)) == pages.STOPPED
    page.get_by_label("Status").select_option("")
    assert page.locator("#shown").inner_text() == "12 rows"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, request: pytest.FixtureRequest) -> None:
    each: Opened = request.getfixturevalue(scheme)
    assert severe(each.page) == []


def test_a_phone_need_not_scroll_sideways_but_in_the_table(dark: Opened) -> None:
    assert dark.page.evaluate("document.documentElement.scrollWidth") <= 360
    table = dark.page.locator(".scroll").first
    assert table.evaluate("it => it.scrollWidth > it.clientWidth")


def test_what_was_chosen_outlives_a_reload(light: Opened) -> None:
    page = light.page
    page.get_by_label("Status").select_option("failed")
    page.reload(wait_until="commit")
    page.wait_for_selector("body[data-charts]", state="attached")
    assert light.column(3) == ["failed"]
    page.get_by_label("Status").select_option("")


def test_it_prints_with_its_charts_and_without_its_controls(dark: Opened) -> None:
    content = dark.page.pdf()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type/Page") >= 1
    dark.page.emulate_media(media="print")
    assert not dark.page.locator(".controls").first.is_visible()
    assert dark.page.locator("#curves svg").first.is_visible()
    background = "getComputedStyle(document.body).backgroundColor"
    assert dark.page.evaluate(background) == "rgb(255, 255, 255)"
    dark.page.emulate_media(media="screen")
