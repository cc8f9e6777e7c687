"""The page of all studies, from hand-written gains.csv."""

from xmtc.reporting.studies import plot_studies, studies

HEADER = "dataset,dataset_sha256,cell,head,metric,plain,with_head,gain,low,high,seeds,documents\n"
USUAL = "encoder=bow recipe=modern"


def line(cell, head, gain, low, high, seeds=3, metric="nDCG@5", plain=0.5, dataset="toy"):
    return f"{dataset},aaa,{cell},{head},{metric},{plain},{plain + gain},{gain},{low},{high},{seeds},100\n"


def write(folder, *lines):
    folder.mkdir(parents=True)
    (folder / "gains.csv").write_text(HEADER + "".join(lines))


def test_one_table_of_all_folders(tmp_path):
    write(
        tmp_path / "study" / "a",
        line(f"{USUAL} data.fraction=1.0 recipe.prior_bias=True", "lcenet", 0.0012, -0.001, 0.004),
        line(f"{USUAL} data.fraction=0.0625 recipe.prior_bias=True", "lcenet", -0.02, -0.03, -0.01),
        line(f"{USUAL} data.fraction=0.0625 recipe.prior_bias=True", "lcenet", 0.5, 0.4, 0.6, metric="P@1"),
        line(f"{USUAL} data.fraction=0.0625 recipe.prior_bias=False", "cornet rank=10", 0.25, 0.2, 0.3, seeds=1),
        line(f"{USUAL} data.fraction=0.0625 recipe.prior_bias=False", "cornet rank=99", 0.0, -0.1, 0.1, seeds=2),
    )
    write(tmp_path / "b", line("encoder=xmlcnn recipe=paper", "mine", 0.01, 0.0, 0.02, dataset="other"))
    title, read, table = studies(tmp_path)
    assert title == "## What heads add" and "bold" in read
    header, _, *rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert header == ["dataset", "encoder", "settings", "seeds", "none", "lcenet", "mine", "cornet", "folder"]
    assert rows == [
        ["other", "xmlcnn", "", "3", "50.00", "", "+1.00 (+0.00 … +2.00)", "", "b"],
        ["toy", "bow", "fraction=0.0625 prior_bias=False", "1–2", "50.00", "", "",
         "**+25.00** (+20.00 … +30.00) rank=10; +0.00 (-10.00 … +10.00) rank=99", "study/a"],
        ["toy", "bow", "fraction=0.0625 prior_bias=True", "3", "50.00", "**-2.00** (-3.00 … -1.00)", "", "", "study/a"],
        ["toy", "bow", "fraction=1.0 prior_bias=True", "3", "50.00", "+0.12 (-0.10 … +0.40)", "", "", "study/a"],
    ]  # fmt: skip
    plot_studies(tmp_path)
    assert studies(tmp_path)[1] == "![what heads add](gains.png)"


def test_cells_whose_values_are_no_single_word_or_number(tmp_path):
    """A limit for some documents and none for others; a warm start from runs on a share of them; a list."""
    warm = "init_from=alike(data.fraction=0.25 head=none)"
    write(
        tmp_path / "a",
        line(f"{USUAL} data.limit=None", "lcenet", 0.01, 0.0, 0.02),
        line(f"{USUAL} data.limit=500", "lcenet", 0.03, 0.0, 0.04),
        line(f'"{USUAL} {warm} encoder.sizes=[1, 2] data.fraction=1.0"', "lcenet", 0.05, 0.0, 0.06),
    )
    _, _, table = studies(tmp_path)
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert [(row[2], row[5][:5]) for row in cells] == [
        ("limit=500", "+3.00"),
        ("limit=None", "+1.00"),
        (f"fraction=1.0 {warm} sizes=[1, 2]", "+5.00"),
    ]


def test_nothing_kept_is_no_part_and_no_picture(tmp_path):
    plot_studies(tmp_path)
    assert studies(tmp_path) == [] and not list(tmp_path.iterdir())
