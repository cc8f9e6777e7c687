import numpy as np
import torch

from xmtc.training.predictions import Predictions


def test_the_file_gives_back_what_was_added_in_any_order(tmp_path, labels_of):
    held = Predictions(3, 2)
    held.add(torch.tensor([2, 0]), torch.tensor([[5, 1], [3, 0]]), torch.tensor([[2.0, -1.0], [0.0, -80.0]]))
    held.add(torch.tensor([1]), torch.tensor([[4, 2]]), torch.tensor([[1.0, 0.5]]))
    held.gather()
    held.save(tmp_path / "predictions.npz", labels_of([[3, 9], [], [6]]), ["név", "b"])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]
    with np.load(tmp_path / "predictions.npz") as file:  # no pickles
        content = dict(file)
    assert content["labels"].dtype == np.int64 and content["scores"].dtype == np.float32
    assert content["labels"].tolist() == [[3, 0], [4, 2], [5, 1]]
    logits = np.array([[0.0, -80.0], [1.0, 0.5], [2.0, -1.0]])
    np.testing.assert_allclose(content["scores"], 1 / (1 + np.exp(-logits)), rtol=1e-6)
    assert content["gold_indices"].tolist() == [3, 9, 6] and content["gold_offsets"].tolist() == [0, 2, 2, 3]
    assert content["unseen_labels"].tolist() == ["név", "b"]


def test_no_unseen_labels_is_an_empty_list_of_strings(tmp_path, labels_of):
    Predictions(1, 1).save(tmp_path / "p.npz", labels_of([[]]), [])
    with np.load(tmp_path / "p.npz") as file:
        assert file["unseen_labels"].shape == (0,) and file["unseen_labels"].dtype.kind == "U"
