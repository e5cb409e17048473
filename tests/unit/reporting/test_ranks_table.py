"""The table of ranks says what the win rates say, ties included."""

import io

import pandas as pd
import pytest
from test_maps_table import pipes
from typed import described
from winrate_tables import BETTER, EXPECTED_WIN_RATES, TABLE, score_rows

from gradfaith.reporting.tables import contract, ranks
from gradfaith.stats.winrates import estimate_winrates
from gradfaith.storage import parquet

ABOUT = {
    "title": "hazelnuts", "classes": ["crack", "hole"], "architectures": ["net"], "controls": ["centre"], "level": 0.95,
    "primary": {"metric": "overlap"}, "metrics": {}, "notes": [], "ranks": {"rank_controls": "beside", "rank_only_correct": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    frames = [
        score_rows(TABLE[:, [0, 1, 2, 2]], ["A", "B", "C", "centre"]),
        score_rows(-TABLE[:, [0, 1, 2, 2]], ["A", "B", "C", "centre"], metric="drop"),
        score_rows(TABLE[:, [1, 0, 2, 2]], ["A", "B", "C", "centre"], metric="overlap", variant="otsu"),
    ]
    return estimate_winrates([pd.concat(frames, ignore_index=True)], ["centre"], BETTER)


def test_every_method_has_its_rate_its_rank_and_its_ties(found: pd.DataFrame) -> None:
    text = contract.markdown(ranks.tabulate({"ranks": found}, described(ABOUT)))
    wins = {line["method"]: line for line in pipes(text, "net: win rate")}
    assert list(wins) == ["A", "B", "C", "centre"]
    for method, rate in EXPECTED_WIN_RATES.items():
        assert wins[method]["Overlap"].startswith(f"{rate:.3f}")
        assert wins[method]["Drop"].startswith(f"{rate:.3f}")
    assert pipes(text, "net: mean rank")[1]["Overlap"].startswith("1.75")
    shared = pipes(text, "net: shared first places, of all contests (contests without a value)")
    assert [line["Overlap"] for line in shared] == ["2 of 4 (0)", "3 of 4 (0)", "2 of 4 (0)", "2 of 4 (0)"]
    assert "an interval needs 8" in text


def test_the_primary_metric_is_shown_by_class(found: pd.DataFrame) -> None:
    lines = pipes(
        contract.markdown(ranks.tabulate({"ranks": found}, described(ABOUT))), "net: win rate in Overlap by class"
    )
    assert lines[0]["crack"].startswith("0.750")
    assert lines[2]["hole"].startswith("0.417")


def test_who_takes_part_is_said(found: pd.DataFrame) -> None:
    among = ABOUT | {"ranks": {"rank_controls": "among", "rank_only_correct": True}}
    assert "Each control competes alone" in contract.markdown(ranks.tabulate({"ranks": found}, described(ABOUT)))
    text = contract.markdown(ranks.tabulate({"ranks": found}, described(among)))
    assert "Controls compete in every contest. Only images that the model classifies correctly count." in text


def test_the_csv_holds_every_rate_of_every_variant_and_class(found: pd.DataFrame) -> None:
    table = pd.read_csv(io.StringIO(contract.csv(ranks.tabulate({"ranks": found}, described(ABOUT)))))
    assert len(table) == len(found) == 3 * 4 * 2 * 3  # cells, methods, measures, both classes and all
    assert table["value"].to_numpy() == pytest.approx(found["value"].to_numpy(), rel=1e-9)
    assert set(table["variant"].fillna("")) == {"", "otsu"}


def test_the_ranks_survive_their_file(found: pd.DataFrame, tmp_path) -> None:
    parquet.write(tmp_path / "ranks.parquet", found, parquet.RANKS)
    again = parquet.read(tmp_path / "ranks.parquet", parquet.RANKS)
    assert again["n_ties"].tolist() == found["n_ties"].tolist()
    assert again["value"].to_numpy() == pytest.approx(found["value"].to_numpy())
