import numpy as np
import torch
from affect_training.data import FaceData
from affect_training.predict import predict_logits
from affect_training.provenance import Normalisation
from support.tiny import Tiny, TinyHeads

from affect.inference.device import Device


def test_logits_of_a_split_do_not_depend_on_the_batch_size(faces: FaceData, cpu: Device) -> None:
    split, model = faces.split("PublicTest"), Tiny()
    normalise = Normalisation.of(faces.split("Training"))
    one = predict_logits(model, split, normalise, cpu)
    other = predict_logits(model, split, normalise, cpu, batch_size=4)
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
