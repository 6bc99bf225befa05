"""Every figure of README's table of measurements stands in a table of ``benchmarks/``."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from tests.workflow.conftest import ROOT

NUMBER = r"(\d+(?:\.\d+)?)"


def claim(pattern: str) -> list[float]:
    """The numbers of the one place of README that a pattern matches; in it, '#' is a number."""
    text = " ".join((ROOT / "README.md").read_text().split())
    places = re.findall(re.escape(pattern).replace(r"\#", NUMBER), text)
    assert len(places) == 1, f"README says not once but {len(places)} times: {pattern}"
    return [float(number) for number in np.atleast_1d(places[0])]


def table(name: str) -> list[list[str]]:
    """Cells of every line of a Markdown table in ``benchmarks/``."""
    lines = (ROOT / "benchmarks" / name).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def row(name: str, *begin: str) -> list[str]:
    """The first line of a table whose first cells are these."""
    return next(cells for cells in table(name) if tuple(cells[: len(begin)]) == begin)


def shown(value: float, claimed: float) -> bool:
    """Whether a value is what is claimed, rounded to as many digits."""
    digits = len(f"{claimed:g}".partition(".")[2])
    return abs(value - claimed) <= 0.5001 * 10**-digits


def test_umpa_against_its_peer():
    times, ours, theirs = claim(
        "`umpa`, 512 x 512, N = 20, 2 threads | UMPA (C++), 7 x 7 window | # times faster, error # px instead of #"
    )
    auto, peer = row("umpa.md", "20", "speckleflow", "auto"), row("umpa.md", "20", "UMPA (C++)", "7")
    assert shown(float(auto[5].split("/")[0]), times)
    assert shown(float(auto[6]), ours)
    assert shown(float(peer[6]), theirs)


def test_the_network_against_umpa():
    cells, mean, n, worst = claim(
        "eight families of scenes that conserve light | `umpa` | phase error in # cells: # of it in the "
        "geometric mean, at worst (waves, N = #) #"
    )
    with (ROOT / "benchmarks/results/families.csv").open(newline="") as stream:
        rows = {
            (r["family"], int(r["positions"]), r["method"]): float(r["phase_px2"])
            for r in csv.DictReader(stream)
        }
    ratios = {
        key[:2]: error / rows[(*key[:2], "umpa")]
        for key, error in rows.items()
        if key[2] == "espinnet" or key[1:] == (1, "spinnet")
    }
    assert len(ratios) == cells
    assert shown(float(np.exp(np.mean(np.log(list(ratios.values()))))), mean)
    assert max(ratios, key=lambda key: ratios[key]) == ("waves", n)
    assert shown(max(ratios.values()), worst)


def test_fbp_against_astra():
    (times,) = claim(
        "FBP `fourier`, 1024 x 1024, 900 angles | ASTRA on the CPU | # times faster, error not above"
    )
    ours, peer = row("fbp.md", "fourier", "ramlak"), row("fbp.md", "ASTRA's own FBP, CPU, linear")
    assert shown(float(ours[4]), times)
    assert float(ours[5]) <= float(peer[5])


@pytest.mark.parametrize(
    ("value", "claimed", "same"), [(10.74, 10.7, True), (10.76, 10.7, False), (51.5, 52, True)]
)
def test_rounding(value, claimed, same):
    assert shown(value, claimed) is same


def test_the_comparison_page():
    """Its figures, too, stand in tables."""
    text = " ".join((ROOT / "docs/comparison.md").read_text().split())
    auto, peer = row("umpa.md", "20", "speckleflow", "auto"), row("umpa.md", "20", "UMPA (C++)", "7")
    times = float(auto[5].split("/")[0])
    assert f"`umpa` {times:g} times faster, error of u {auto[6]} instead of {peer[6]} px" in text
    five = {
        name: row("peers.md", name)[3:5]
        for name in ("speckleflow lcs", "mbipy 0.1.0, lcs", "speckleflow umpa")
    }
    for words, name in (
        ("`lcs`", "speckleflow lcs"),
        ("mbipy", "mbipy 0.1.0, lcs"),
        ("`umpa`", "speckleflow umpa"),
    ):
        seconds, error = five[name]
        assert f"{words} {error} px in {seconds} s" in text
    retrieval = row("peers.md", "LCS-Retrieval 0.1.1, lcs_df")
    assert f"N = 5: {retrieval[4]} px in {retrieval[3]} s" in text
    assert f"`fourier` {row('fbp.md', 'fourier', 'ramlak')[4]} times faster" in text
    assert "20 of 20 are within 0.25 px or warned of" in (ROOT / "benchmarks/axis.md").read_text()
    best = row("rings.md", "auto over the best other")
    assert sum(float(cell) <= 1.0 for cell in best[1:9]) == 7
