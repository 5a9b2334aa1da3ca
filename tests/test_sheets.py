"""A table of texts as a page: whole, without a script, and nothing in a text is markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from tests.journals import Told, journal_of
from tuner.headings import Heading
from tuner.leaderboard import rows
from tuner.rendering import render
from tuner.sheets import Head, Sheet, page, text

EVIL = "<script>alert(1)</script> & \"quoted\" 'too'"


class Page(HTMLParser):
    """The elements of a page, and the texts of its cells, row by row."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_leaderboard_s_page_holds_the_table_and_nothing_that_runs(tmp_path: Path) -> None:
    trials = [Told(), Told("failed", (), error=EVIL, configuration={"optim": EVIL[:20]})]
    board = rows(journal_of(tmp_path / "journal.jsonl", trials), "max")
    about = Heading(run="r<1>", task="demo", objective="accuracy")
    found = Page(render(board, "html", about))
    assert found.open == []
    assert found.rows[0][:4] == ["rank", "trial", "status", "accuracy"]
    assert found.rows[1][:4] == ["1", "t000", "finished", "0.7000"]
    assert found.rows[2][-1] == EVIL
    names = {tag for tag, _ in found.tags}
    assert names.isdisjoint({"script", "link", "img", "iframe", "a"})
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]


def test_a_page_says_its_language_its_title_and_what_its_cells_are_called() -> None:
    sheet = Sheet([Head("run"), Head("score", True)], [["a", "1"], ["b", "2"]])
    found = Page(page("Runs", ["first", sheet, "then", sheet], label="run"))
    assert ("html", {"lang": "en"}) in found.tags
    assert [tag for tag, _ in found.tags].count("h1") == 1
    scopes = [attributes.get("scope") for tag, attributes in found.tags if tag == "th"]
    assert scopes == ["col", "col", "row", "row"] * 2
    labels = [attributes["aria-label"] for tag, attributes in found.tags if tag == "table"]
    assert labels == ["Runs, table 1", "Runs, table 2"]


def test_a_narrow_terminal_does_without_the_columns_that_can_be_spared() -> None:
    heads = [Head("run"), Head("device", spare=2), Head("score", True), Head("time", True, spare=1)]
    sheet = Sheet(heads, [["a" * 10, "b" * 10, "0.5", "10 s"]])
    shown = text(["head"], sheet, [], width=26)
    assert shown.splitlines()[2].split() == ["run", "score", "time"]
    assert "left out here: device" in shown
    assert "left out" not in text(["head"], sheet, [])
