"""Write the figures and pictures of docs/examples: `python examples/pages.py [NAME...]`, from the root of the tree.

A page has its figures between two marks; what is between them is what this made. `tests/test_example_pages.py` makes
them again and compares: a page can't say what the code does not do.
Known bad case: text around the figures is a person's; read it again when they change.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import on_bars
import on_book
import on_recordings

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "examples"
RECORDED = Path(os.environ.get("ULTRA_DATA") or ROOT.parent / "shared" / "data")
RECORDED_MARKS = "<!-- recorded figures: examples/pages.py -->\n", "<!-- end of recorded figures -->\n"
BEGIN, END = "<!-- figures: examples/pages.py -->\n", "<!-- end of figures -->\n"


def made(name: str) -> tuple[str, str]:
    """(figures as Markdown, picture as SVG) of a page."""
    for study in on_bars.STUDIES:
        if study.page == name:
            return on_bars.study_of(study)
    return next(on_book.study_of(study) for study in on_book.STUDIES if study.page == name)


def names() -> list[str]:
    """Of all pages with figures."""
    return [study.page for study in (*on_bars.STUDIES, *on_book.STUDIES)]


def with_figures(page: str, figures: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The page's text with other figures between the marks."""
    begin, end = marks
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{figures}\n{end}{after}"


def write(name: str) -> None:
    """Make a page's figures and picture again."""
    figures, picture = made(name)
    (PAGES / f"{name}.svg").write_text(picture)
    page = PAGES / f"{name}.md"
    page.write_text(with_figures(page.read_text(), figures))
    print(f"{name}\n{figures}")
    if all((RECORDED / path).exists() for path in on_recordings.needs(name)):
        figures = on_recordings.figures(name, RECORDED)
        page.write_text(with_figures(page.read_text(), figures, RECORDED_MARKS))
        print(figures)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or names():
        write(chosen)
