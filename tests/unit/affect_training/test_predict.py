import numpy as np
import pytest
import torch
from affect_training import predict
from affect_training.data import FaceData
from affect_training.predict import predict_logits
from affect_training.provenance import Normalisation
from support.tiny import Tiny, TinyHeads

from affect.inference.device import Device


def test_faces_that_are_enlarged_come_in_smaller_batches_and_say_the_same(
    faces: FaceData, cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, model = faces.split("PublicTest"), Tiny()
    normalise = Normalisation.of(faces.split("Training"))
    one = predict_logits(model, split, normalise, cpu)
    sizes: list[int] = []
    model.side = 110  # type: ignore[assignment]
    monkeypatch.setattr(predict, "BATCH_PIXELS", 4 * 110**2)
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    other = predict_logits(model, split, normalise, cpu)
    assert sizes == [4, 4, 4, 4, 4, 1]
    assert one.shape == (21, 7)
    assert one.dtype == np.float64
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_they_are_those_of_eval_mode_in_which_it_leaves_the_network(faces: FaceData, cpu: Device) -> None:
    split, model = faces.split("PublicTest"), TinyHeads(heads=2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = predict_logits(model, split, Normalisation(0.0, 1.0), cpu)
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.inference_mode():
        expected = model(torch.from_numpy(split.images).float().unsqueeze(1) / 255)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
