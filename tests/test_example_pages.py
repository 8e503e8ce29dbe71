"""The pages of the examples say what the examples do: figures and pictures are made again, and their code runs."""

import math
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from recorded import FOLDER, data

from ultra.hot import JIT

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import on_bars  # noqa: E402
import on_recordings  # noqa: E402
import pages  # noqa: E402


def test_an_edge_is_found_where_there_is_one_and_lost_to_costs() -> None:
    study = on_bars.STUDIES[1]
    few = {"markets": 4 if JIT else 2, "years": 4 if JIT else 1}
    free, dear = (on_bars.run(study, {"pull": 0.1}, cost, **few) for cost in (0, 50))
    assert free.mean > 2 * free.error > 0 and dear.mean < free.mean and dear.trades == free.trades
    assert on_bars.run(study, {"pull": 0.1, **on_bars.FINE}, 5, **few).mean < 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", pages.names())
def test_a_page_says_what_its_example_does(name: str) -> None:
    figures, picture = pages.made(name)
    page = (pages.PAGES / f"{name}.md").read_text()
    assert pages.with_figures(page, figures) == page, f"python examples/pages.py {name}, and read the page again"
    assert (pages.PAGES / f"{name}.svg").read_text() == picture
    assert len(picture) < 20_000 and ElementTree.fromstring(picture).attrib["viewBox"] == "0 0 720 300"
    assert f"]({name}.svg)" in page and f"ultra/strategies/{name}.py" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", pages.names())
def test_a_page_says_what_recorded_data_gave(name: str) -> None:
    for path in on_recordings.needs(name):
        data(*path.parts)
    page = (pages.PAGES / f"{name}.md").read_text()
    assert pages.with_figures(page, on_recordings.figures(name, FOLDER), pages.RECORDED_MARKS) == page


def blocks(path: Path) -> list[str]:
    """The Python of a page that stands on its own."""
    parts = path.read_text().split("```python\n")[1:]
    return [code for part in parts if (code := part.split("```")[0]).startswith(("import", "from"))]


@pytest.mark.parametrize("name", ["indicators", "examples/golden_cross"])
def test_the_code_of_a_page_runs(name: str) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(ROOT / "docs" / f"{name}.md")
    for code in found:
        exec(compile(code if JIT else code.replace("2520", "60"), name, "exec"), names)
    assert found and (name != "indicators" or math.isnan(names["change"]([1.0, 3.0])[0]))
    if name == "indicators":
        assert names["change"]([1.0, 3.0]).tolist()[1:] == [2.0]
