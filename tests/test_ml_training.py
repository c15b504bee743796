"""Networks: what they learn, that a training goes on after a kill, and that a file that does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="trains, which needs torch")
from safetensors.torch import load_file, save_file

from hrxrd_ml.errors import ExperimentError, InputFileError, ParameterError
from hrxrd_ml.guess.network.checkpoint import Checkpoint
from hrxrd_ml.guess.network.forward import FORWARDS
from hrxrd_ml.guess.network.plan import NetworkSettings, Plan
from hrxrd_ml.guess.network.predict import Prediction, Predictor
from hrxrd_ml.guess.network.targets import Targets
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.training.evaluate import Evaluation, text
from hrxrd_ml.training.network import GuessNetwork, Mixture, load_arrays
from hrxrd_ml.training.prior import FixedPrior
from hrxrd_ml.training.recipe import Training, TrainSettings
from hrxrd_ml.training.train import RESULT, STATE, Trainer
from killing import run_and_kill

PLAN = Plan(Preprocessing("fixed", points=101), Targets("linear"), NetworkSettings(width=48, depth=1, components=2))
TRAINING = Training(PLAN, TrainSettings(epochs=8.0, batch=64, validation=0.1, rate=3e-3, precision="fp32"))
TOML = """
[input]
kind = "fixed"
points = 101

[output]
kind = "linear"

[network]
width = 48
depth = 1
components = 2

[train]
epochs = 400
batch = 64
validation = 0.1
precision = "fp32"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    prior = FixedPrior(points=101, zero=10, step=25.0, fwhm=30.0)
    folder = DatasetFolder.create(
        tmp_path_factory.mktemp("data") / "set", DatasetSettings(curves=1500, seed=2, shard=500, prior=prior)
    )
    folder.make(1, progress=False)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, data: DatasetFolder) -> DatasetFolder:
    settings = dataclasses.replace(data.settings, curves=300, seed=3)
    folder = DatasetFolder.create(tmp_path_factory.mktemp("data") / "other", settings)
    folder.make(1, progress=False)
    return folder


@pytest.fixture(scope="module")
def trained(data: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    found = Trainer(TRAINING, data, out, device="cpu", progress=False, version="test").run()
    assert found is not None
    return found


def test_it_learns(trained: Path) -> None:
    log = np.genfromtxt(trained.parent / "log.csv", delimiter=",", names=True)
    assert log["valid"][-1] < log["valid"][0] - 1.0
    assert log["step"][-1] == log["step"].max()


def test_mixture_loss_is_the_likelihood() -> None:
    location, log_scale = torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])
    answer = torch.tensor([[1.0, -2.0]])
    weight = torch.ones(2)
    expected = 1.0 + np.log(2.0) + 2.0 / np.e + 1.0 + np.log(2.0)
    assert float(Mixture(torch.zeros(1, 1), location, log_scale).loss(answer, weight)) == pytest.approx(
        expected, rel=1e-6
    )
    # Two equal components are the same as one.
    double = Mixture(torch.zeros(1, 2), location.expand(1, 2, 2), log_scale.expand(1, 2, 2))
    assert float(double.loss(answer, weight)) == pytest.approx(expected, rel=1e-6)


def test_median_of_a_mixture() -> None:
    rng = np.random.default_rng(0)
    spread, weight = np.array([[[0.5], [0.1]]]), np.array([[0.7, 0.3]])
    seen = Prediction(np.array([[[0.0], [3.0]]]), spread, weight, np.zeros(1))
    which = rng.random(200_000) < 0.7
    draws = np.where(which, rng.laplace(0.0, 0.5, 200_000), rng.laplace(3.0, 0.1, 200_000))
    assert seen.middle()[0, 0] == pytest.approx(np.median(draws), abs=0.01)
    assert seen.cumulative(np.array([[1.0]]))[0, 0] == pytest.approx(np.mean(draws < 1.0), abs=5e-3)


def test_prediction_is_deterministic(trained: Path, other: DatasetFolder) -> None:
    network = Predictor.load(trained)
    image = np.random.default_rng(1).standard_normal((5, 101))
    first, again = network.predict(image, np.zeros((5, 0))), network.predict(image, np.zeros((5, 0)))
    for name in Prediction.__dataclass_fields__:
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert np.all(np.diff(first.weight, axis=1) <= 0.0)
    assert np.all(first.spread > 0.0)


def test_prediction_without_torch_is_that_of_torch(trained: Path) -> None:
    found = Checkpoint.load(trained)
    rng = np.random.default_rng(2)
    image, constants = rng.standard_normal((4, 101)).astype(np.float32), np.zeros((4, 0), dtype=np.float32)
    plain = Predictor.load(trained).forward
    hidden, answer = _in_torch(found.plan, found.part("network"), image, constants)
    assert plain.hidden(image, constants) == pytest.approx(hidden, abs=1e-4)
    for one, two in zip(plain.answer(plain.hidden(image, constants)), answer, strict=True):
        assert one == pytest.approx(two, abs=1e-3)
    assert not _needs_torch(trained)


def _in_torch(plan: Plan, arrays: dict, image: np.ndarray, constants: np.ndarray) -> tuple[np.ndarray, tuple]:
    """Return features and answer of the network in torch."""
    network = GuessNetwork(plan)
    load_arrays(network, arrays)
    with torch.inference_mode():
        hidden = network.eval().hidden(torch.from_numpy(image), torch.from_numpy(constants))
        mixture = network.answer(hidden)
    return hidden.numpy(), tuple(part.numpy() for part in (mixture.logit, mixture.location, mixture.log_scale))


def _needs_torch(path: Path) -> bool:
    code = (
        "import sys; from hrxrd_ml.guess.network.predict import Predictor as P; "
        "P.load(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


MLP = NetworkSettings(width=48, depth=2, crop=5)
TOKENS = NetworkSettings("tokens", width=64, depth=2)
PLANS = {
    "mlp": Plan(Preprocessing(), Targets(), MLP),
    "window": Plan(Preprocessing(), Targets(), TOKENS),
    "fixed": Plan(Preprocessing("fixed", points=701), Targets("linear"), TOKENS),
    "odd": Plan(Preprocessing(), Targets(), dataclasses.replace(TOKENS, stride=7, crop=5, readout=3)),
}


def _random(plan: Plan) -> dict[str, np.ndarray]:
    """Return weights none of which is zero, as the residual ones of an untrained network are."""
    rng = np.random.default_rng(4)
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 4.0)).astype(np.float32)
        for name, shape in plan.shapes().items()
    }
    return {name: np.abs(a) + 0.5 if name.endswith("_scale") else a for name, a in arrays.items()}


@pytest.mark.parametrize("name", PLANS)
def test_each_network_in_numpy_is_that_of_torch(name: str) -> None:
    plan = PLANS[name]
    assert plan.shapes() == {name: tuple(t.shape) for name, t in GuessNetwork(plan).state_dict().items()}
    rng, p, arrays = np.random.default_rng(5), plan.preprocessing, _random(plan)
    image = rng.standard_normal((3, p.channels * p.points)).astype(np.float32)
    constants = rng.standard_normal((3, p.constants)).astype(np.float32)
    plain = FORWARDS[plan.network.architecture](plan, arrays)
    expected, answer = _in_torch(plan, arrays, image, constants)
    hidden = plain.hidden(image, constants)
    assert hidden.dtype == np.float32
    assert hidden == pytest.approx(expected, abs=1e-5)
    assert plain.hidden(image[1:2], constants[1:2]) == pytest.approx(hidden[1:2], abs=1e-5)
    for one, two in zip(plain.answer(hidden), answer, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_tokens_in_a_checkpoint(tmp_path: Path) -> None:
    plan, path = PLANS["window"], tmp_path / "tokens.safetensors"
    Checkpoint(plan, {f"network.{name}": a for name, a in _random(plan).items()}).save(path)
    assert Checkpoint.load(path).plan == plan
    assert not _needs_torch(path)


def test_tokens_learn_in_half_precision() -> None:
    plan = PLANS["window"]
    torch.manual_seed(0)
    network, generator = GuessNetwork(plan), torch.Generator().manual_seed(6)
    image, constants, answer = (torch.randn(8, n, generator=generator) for n in (1280, 14, len(plan.targets.names)))
    optimiser, losses = torch.optim.AdamW(network.parameters(), lr=1e-3), []
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16):
            mixture = network(image, constants)
        loss = mixture.loss(answer, torch.ones(answer.shape[1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1.0
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_a_checkpoint_from_before_a_setting_has_its_default(trained: Path, tmp_path: Path) -> None:
    header, body = _header(trained)
    own = json.loads(header["__metadata__"]["hrxrd_ml"])
    for key in ("stride", "readout"):
        del own["plan"]["network"][key]
    header["__metadata__"]["hrxrd_ml"] = json.dumps(own)
    _write(tmp_path / "old.safetensors", header, body)
    assert Predictor.load(tmp_path / "old.safetensors").plan == PLAN


def test_what_it_has_not_learnt_is_outside(trained: Path, other: DatasetFolder) -> None:
    network = Predictor.load(trained)
    seen = Evaluation.of(network, other, workers=1, progress=False)
    assert np.mean(seen.prediction.score > 1.0) < 0.05
    strange = network.predict(np.full((1, 101), 4.0), np.zeros((1, 0)))
    assert strange.score[0] > 1.0


def test_evaluation(trained: Path, data: DatasetFolder, other: DatasetFolder) -> None:
    network = Predictor.load(trained)
    with pytest.raises(InputFileError, match="seed of the training"):
        Evaluation.of(network, data, workers=1, progress=False)
    seen = Evaluation.of(network, other, workers=1, progress=False)
    report = seen.report()
    assert report["curves"] == 300
    assert 0.0 < report["errors"]["Dmax1"]["percent"] < 60.0
    assert set(report["within 10 %"]) == {"all", "strain below 2 %", "strain from 2 %"}
    assert "largest strain" in text(report)
    perfect = dataclasses.replace(seen, answer=seen.truth)
    assert perfect.errors()["L1"]["mae"] == 0.0
    assert perfect.report()["within 10 %"]["all"]["shape"] == 100.0


@pytest.mark.parametrize("architecture", ["mlp", "tokens"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    architecture: str, data: DatasetFolder, tmp_path: Path
) -> None:
    plan = dataclasses.replace(PLAN, network=NetworkSettings(architecture, width=32, depth=1, components=1, crop=5))
    training = Training(plan, TrainSettings(epochs=0.12, batch=32, validation=0.1, precision="fp32", loss="absolute"))

    def trainer(name: str) -> Trainer:
        return Trainer(training, data, tmp_path / name, device="cpu", progress=False)

    whole = trainer("whole")
    assert whole.run() is not None
    while (found := (stopped := trainer("parts")).run(seconds=0.0)) is None:
        assert stopped.step < stopped.steps
    one, two = load_file(tmp_path / "whole" / RESULT), load_file(found)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=1e-5), name


def test_another_training_in_the_same_folder_is_refused(trained: Path, data: DatasetFolder) -> None:
    changed = dataclasses.replace(TRAINING, settings=dataclasses.replace(TRAINING.settings, rate=1e-4))
    with pytest.raises(InputFileError, match="training with another train"):
        Trainer(changed, data, trained.parent, device="cpu", progress=False)


def test_a_training_begins_with_a_network_that_is_there(trained: Path, data: DatasetFolder, tmp_path: Path) -> None:
    short = dataclasses.replace(TRAINING, settings=dataclasses.replace(TRAINING.settings, epochs=0.1, rate=1e-6))
    fresh = Trainer(short, data, tmp_path / "fresh", device="cpu", progress=False)
    known = Trainer(short, data, tmp_path / "known", device="cpu", progress=False, start=trained)
    assert known.validate() < fresh.validate() - 0.5
    assert known.run() is not None
    deeper = dataclasses.replace(TRAINING, plan=dataclasses.replace(PLAN, network=NetworkSettings(width=48, depth=2)))
    with pytest.raises(InputFileError, match="another network than these settings"):
        Trainer(deeper, data, tmp_path / "deeper", device="cpu", progress=False, start=trained)
    assert not (tmp_path / "deeper").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused(data: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no CUDA device"):
        Trainer(TRAINING, data, tmp_path / "run", device="cuda", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("precision", "short"), [("bf16", True), ("fp32", False), ("auto", None)])
def test_precision_is_what_is_said_or_what_is_faster(
    precision: str, short: bool | None, data: DatasetFolder, tmp_path: Path
) -> None:
    settings = dataclasses.replace(TRAINING.settings, precision=precision, epochs=0.1)
    trainer = Trainer(dataclasses.replace(TRAINING, settings=settings), data, tmp_path, device="cpu", progress=False)
    assert short is None or trainer.short is short
    found = trainer.run()
    assert found is not None
    assert Checkpoint.load(found).about["precision"] == ("bf16" if trainer.short else "fp32")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[train]\nprecision = 'fp8'", "precision auto, bf16 or fp32"),
        ("[network]\narchitecture = 'transformer'", "unknown architecture"),
        ("[network]\narchitecture = 'tokens'\nwidth = 100", "multiple of 32, got 100"),
        ("[network]\nstride = 0", "stride and readout must be positive"),
        ("[input]\npoints = 9000\n[network]\narchitecture = 'tokens'\nstride = 8", "makes 1125 tokens"),
        ("[train]\nloss = 'square'", "loss is one of"),
        ("[train]\nweights = [1, 2]", "expected 7 weights"),
        ("[train]\nepochs = -1.0", "must be positive"),
        ("[train]\nbatch = 'big'", "expected an integer"),
        ("[network]\nhidden = 3", "has no key 'hidden'"),
        ("[training]\nepochs = 3.0", "unknown table or key training"),
        ("epochs = 3.0", "unknown table or key epochs"),
        ("[train", "not a TOML file"),
    ],
)
def test_wrong_settings_are_named(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=what):
        Training.read(path)


def _header(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def _write(path: Path, header: dict, body: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickle(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)


def _huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(3)}, path)


def _other_shape(path: Path) -> None:
    found = Checkpoint.load(path)
    arrays = dict(found.arrays)
    arrays["network.head.weight"] = arrays["network.head.weight"][:3]
    Checkpoint(found.plan, arrays, found.about).save(path)


def _missing(path: Path) -> None:
    found = Checkpoint.load(path)
    arrays = {name: t for name, t in found.arrays.items() if name != "network.head.bias"}
    Checkpoint(found.plan, arrays, found.about).save(path)


def _not_finite(path: Path) -> None:
    found = Checkpoint.load(path)
    arrays = dict(found.arrays)
    arrays["network.head.bias"] = np.full_like(arrays["network.head.bias"], np.nan)
    Checkpoint(found.plan, arrays, found.about).save(path)


def _changed_header(**changes: object):
    def change(path: Path) -> None:
        header, body = _header(path)
        own = json.loads(header["__metadata__"]["hrxrd_ml"])
        for key, value in changes.items():
            place = own
            *parents, last = key.split("__")
            for parent in parents:
                place = place[parent]
            place[last] = value
        header["__metadata__"]["hrxrd_ml"] = json.dumps(own)
        _write(path, header, body)

    return change


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_truncated, "damaged"),
        (_empty, "damaged"),
        (_pickle, "damaged"),
        (_huge_header, "damaged"),
        (_foreign, "not a checkpoint of hrxrd_ml"),
        (_other_shape, "head.weight has shape"),
        (_missing, "head.bias is missing"),
        (_not_finite, "not finite"),
        (_changed_header(format=7), "format 7"),
        (_changed_header(plan=[]), "trained for the parameters None"),
        (_changed_header(plan__space=[["Dmax1", "", 0.0, 1.0]]), "trained for the parameters"),
        (_changed_header(plan__network__width=-4), "must be positive"),
        (_changed_header(plan__network__width="wide"), "expected an integer"),
        (_changed_header(plan__network__width=64), "its settings ask for"),
        (_changed_header(plan__preprocessing__points=55), "its settings ask for"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason(
    damage, what: str, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(trained.read_bytes())
    damage(path)
    with pytest.raises((InputFileError, ExperimentError), match=what):
        Predictor.load(path)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such checkpoint"):
        Predictor.load(tmp_path / "none.safetensors")


def kill_while_training(folder: Path, data: DatasetFolder, delay: float) -> None:
    """Start a training and kill it after a while."""
    files = [str(folder / "train.toml"), str(data.path), "--out", str(folder / "run")]
    run_and_kill(["train", *files, "--save-every", "0", "--device", "cpu"], delay, folder / "run" / STATE)


@pytest.mark.slow
def test_killed_ten_times_a_training_goes_on(data: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(TOML)
    rng = np.random.default_rng(7)
    steps = []
    for _ in range(10):
        kill_while_training(tmp_path, data, float(rng.uniform(0.0, 1.5)))
        if (tmp_path / "run" / STATE).exists():
            steps.append(int(Checkpoint.load(tmp_path / "run" / STATE).about["step"]))
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
