"""Two evaluations against each other."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from segtool.errors import SegtoolError
from segtool.evaluation.compare import compare
from segtool.evaluation.compare_folder import comparison_lines, write_comparison
from segtool.evaluation.output import evaluate_into
from segtool.evaluation.workers import Workers

from .test_failures import Model, Streets


def saved(folder, model, dataset=None):
    opener = partial(lambda m, d: (m, d), model, dataset or Streets())
    with Workers(opener) as workers:
        evaluate_into(folder, workers, pictures=0)
    return folder


def test_changes_are_found_by_image_and_class(tmp_path):
    a, b = saved(tmp_path / "a", Model(wrong=(7, 23, 41))), saved(tmp_path / "b", Model(wrong=(23, 30), instead=0))
    found = compare(a, b)
    assert found.counts == (3, 1, 46)  # ground instead of house is less bad than post
    assert found.images["image"].iloc[0] == "street_30"
    assert set(found.images["image"].iloc[-3:]) == {"street_07", "street_23", "street_41"}
    changed = found.images["difference"]
    changed = changed[changed != 0]
    assert found.p_value == pytest.approx(stats.wilcoxon(changed).pvalue)
    by_class = found.classes.set_index("class")["difference"]
    iou = {k: json.loads((tmp_path / k / "summary.json").read_text())["value"]["by_class"]["iou"] for k in "ab"}
    assert by_class["post"] == pytest.approx(iou["b"][2] - iou["a"][2])
    assert found.classes["class"].iloc[0] == by_class.idxmin()


def test_interval_of_the_difference_is_paired(tmp_path):
    """B is A but for one image, so the difference is far more certain than either score."""
    a, b = saved(tmp_path / "a", Model(wrong=range(30))), saved(tmp_path / "b", Model(wrong=range(29)))
    found = compare(a, b)
    low, high = found.interval
    assert low <= found.miou[1] - found.miou[0] <= high
    own = json.loads((b / "summary.json").read_text())["miou_95_percent_interval"]["value"]
    assert high - low < 0.3 * (own[1] - own[0])


def test_an_evaluation_against_itself(tmp_path):
    a = saved(tmp_path / "a", Model(wrong=(7,)))
    found = compare(a, a)
    assert (found.counts, found.p_value, found.interval) == ((0, 0, 50), 1.0, (0.0, 0.0))
    assert "chance" in " ".join(comparison_lines(found))


def test_other_images_are_left_out_and_counted(tmp_path):
    class Fewer(Streets):
        def __len__(self):
            return 40

    found = compare(saved(tmp_path / "a", Model()), saved(tmp_path / "b", Model(wrong=(3,)), Fewer()))
    assert (found.only, found.interval, len(found.images)) == ((10, 0), None, 40)


def test_files_and_pictures(tmp_path):
    models = Model(wrong=(7,)), Model(wrong=(30,))
    found = compare(*(saved(tmp_path / name, model) for name, model in zip("ab", models, strict=True)))
    openers = tuple(partial(lambda m: (m, Streets()), model) for model in models)
    write_comparison(tmp_path / "out", found, openers, pictures=4)
    assert pd.read_csv(tmp_path / "out" / "images.csv")["image"].tolist() == found.images["image"].tolist()
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert record["images"] == {"better": 1, "worse": 1, "same": 48, "only_a": 0, "only_b": 0}
    page = (tmp_path / "out" / "report.html").read_text()
    cards = json.loads(page.split('id="data">')[1].split("</script>")[0])["cards"]
    assert next(c["image"] for c in cards) == "street_30"
    assert len(cards) == 4
    np.testing.assert_allclose(cards[0]["difference"], found.images["difference"].iloc[0])


def test_folders_that_cannot_be_compared_are_refused(tmp_path):
    class Renamed(Streets):
        def __init__(self):
            super().__init__()
            self.classes = [c.model_copy(update={"name": c.name + "s"}) for c in self.classes]

    a = saved(tmp_path / "a", Model())
    with pytest.raises(SegtoolError, match="other classes"):
        compare(a, saved(tmp_path / "b", Model(), Renamed()))
    with pytest.raises(SegtoolError, match="not an evaluation folder"):
        compare(a, tmp_path)
    (a / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(SegtoolError, match="not an evaluation folder"):
        compare(a, a)
