"""The tutorial runs, in a kernel of Jupyter, from its first cell to its last, and says what it says it says.

It is kept without outputs: what it prints is made here, from a seed. A cell that fails stops it, with the cell's trace.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"


def test_a_notebook_is_kept_without_what_it_printed() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 9 and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.slow
@pytest.mark.jit_only
def test_the_tutorial_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # What the kernel and its `!ultra` are to find is this tree and this environment.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = {cell["id"]: outputs(cell) for cell in notebook.cells if cell["cell_type"] == "code"}
    everything = "\n".join(said.values())
    assert "tape of bars: SYN, 2,521 records" in everything
    assert "tape of bars: AAA, BBB, 602 records" in everything
    assert "on_bar makes a list" in everything and "[event.price]" in everything
    assert "in all, Sharpe 1.23" in everything and "probability that it is more than luck" in everything
    assert "out of sample" in everything and "fills" in everything
    assert rich(notebook) >= 6, "results show themselves as HTML"
    page = (tmp_path / "cross.html").read_text()
    assert "<svg" in page and "<script" not in page


def outputs(cell: Any) -> str:
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell["outputs"])


def rich(notebook: Any) -> int:
    """How many cells answered with more than text."""
    cells = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    return sum(any("text/html" in out.get("data", {}) for out in cell["outputs"]) for cell in cells)
