"""A training run in a folder: starts, resumes, judges every epoch on PublicTest, keeps the best weights.

Everything random in an epoch follows from (seed, epoch), so a run that was killed and resumed ends with the weights
of an unbroken one. Selection looks at PublicTest only.
"""

import json
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from pydantic import ValidationError
from torch import nn

from affect.errors import CheckpointError, MediaError, SettingsError, first_problem
from affect.inference.device import Device
from affect.registry import RecipeSpec
from affect_training.callbacks import EpochBar, EveryEpoch, WholeFile, is_interactive, quiet_lightning
from affect_training.config import RunConfig
from affect_training.data import SIDE, FaceData, Split
from affect_training.data.holdout import hold_out
from affect_training.data.training import TrainingSet, described, training_set
from affect_training.held_out import check_holdout
from affect_training.judge import EpochResult, Judge, Progress, State
from affect_training.kept import find_kept, go_back
from affect_training.module import LOG_STEPS, FaceModule, LossNotFiniteError
from affect_training.network import build_model, calibrate, freeze, freeze_body, initialise
from affect_training.processes import OwnEnd, SameEpoch, check_gpus, cluster, is_first_process
from affect_training.provenance import Normalisation, array_sha256, git_commit, init_sha256, package_versions
from affect_training.run_folder import check_best, check_free, empty_folder
from affect_training.run_record import DataSet, RunRecord
from affect_training.selection import is_over
from affect_training.storage import UnwrittenError, alone, read_checkpoint, save_text
from affect_training.targets import Targets

__all__ = ["EpochResult", "Run", "State", "open_run"]

log = logging.getLogger(__name__)

CALIBRATION_FACES = 2048
ANOTHER_RUN = "run; choose another --out, or share it by --devices N"


@dataclass(slots=True)
class Run:
    """One training run.

    Args:
        folder: Holds `last.ckpt`, `best.ckpt`, `log.csv`, `run.json`, `tensorboard/`, `epochs/`.
        spec: The recipe.
        config: Its settings.
        data: Faces with the splits Training and PublicTest; without the latter, `config.data.holdout` makes it.
        device: Where it runs; of several processes on GPUs, this one's (`processes.own_device`).
        aux: Folder below which `config.data.aux` lies.
        devices, nodes: Processes a machine and machines, for distributed training (Lightning's DDP).
        cache: Folder for parsed auxiliary sets; None parses them anew.
        faces: What is trained on, when another run with an equal `training_key` has put it together already.
        keep: Keep every Nth epoch in `epochs/`, to go back to; 0 keeps none.

    Raises:
        MediaError: A split is missing, or has nothing but blank images.
    """

    folder: Path
    spec: RecipeSpec
    config: RunConfig
    data: FaceData
    device: Device
    aux: Path | None = None
    devices: int = 1
    nodes: int = 1
    cache: Path | None = None
    faces: TrainingSet | None = None
    keep: int = 0
    state: State = field(default_factory=State)
    validation: Split = field(init=False)
    normalise: Normalisation = field(init=False)
    model: nn.Module = field(init=False)
    _resume_from: Path | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.train.seed)
        self.data = hold_out(self.data, self.config.data.holdout)
        self.validation = self.data.split("PublicTest")
        for name, split in (("Training", self.data.split("Training")), ("PublicTest", self.validation)):
            if not len(split):
                raise MediaError(f"{name} has no faces: {self.data.blank.get(name, 0)} blank images are dropped")
        self.normalise = Normalisation.of(self.data.split("Training"), self.config.data.normalise)
        self.model = build_model(self.spec.architecture, self.config.model)
        if self.config.train.precision != "auto":
            self.device = Device(self.device.name, self.config.train.precision)

    @property
    def training(self) -> Split:
        """The faces it trains on; put together when first asked for, as only training needs them."""
        return self._training_set().split

    @property
    def finished(self) -> bool:
        """Whether early stopping or the last epoch has come."""
        train, state = self.config.train, self.state
        return is_over(state.epoch, state.best_loss_epoch, train.epochs, train.stop_epochs)

    @property
    def _is_back(self) -> bool:
        """Whether it goes on from an epoch that was kept, not from its last one."""
        return self._resume_from is not None and self._resume_from.parent != self.folder

    def resume(self, *, epoch: int | None = None) -> bool:
        """Go on from the last checkpoint; False when there is none.

        Args:
            epoch: Go on from the end of this one instead; `fit` then forgets what came after it.

        Raises:
            CheckpointError: The checkpoint is corrupt, or its weights do not fit the network.
            SettingsError: It is of a run with other settings, or this epoch was not kept.
        """
        path = (find_kept(self.folder, epoch) if epoch else self.folder) / "last.ckpt"
        if not path.exists():
            return False
        saved = read_checkpoint(path, "affect")
        try:
            config, state = RunConfig.model_validate_json(saved["affect"]["config"]), State(**saved["affect"]["state"])
            weights = {name: t for name, t in saved["state_dict"].items() if name.startswith("network.")}
        except (KeyError, TypeError, ValueError) as exc:
            raise CheckpointError(f"{path}: of another version of affect-train; start anew with --fresh") from exc
        if config.model_dump_json() != self.config.model_dump_json():
            raise SettingsError(f"{path} belongs to a run with other settings; choose another --out folder, or --fresh")
        if state.best_epoch:
            check_best(path.with_name("best.ckpt"), state.best_epoch)
        self._load({name.removeprefix("network."): t for name, t in weights.items()}, path)
        self.state = state
        self._resume_from = path
        return True

    def fit(
        self,
        progress: Progress,
        *,
        stop_after: int | None = None,
        on_epoch: Callable[[EpochResult], None] | None = None,
    ) -> None:
        """Train until early stopping or the last epoch.

        Args:
            progress: Gets a line of what is unusual in faces or device, and one an epoch.
            stop_after: Ends this call after that many epochs; `resume` and `fit` go on.
            on_epoch: Gets each epoch's figures; an exception of its ends the run.

        Raises:
            LossNotFiniteError: The loss is NaN; the rows of the batch are in `nan-batch.json`.
            SystemExit: SIGTERM came; what was saved is intact.
            UnwrittenError: A file of the run could not be written; what was saved before is intact.
            SettingsError: The run was begun with other data, votes, auxiliary faces, initial weights or teachers; or
                its processes do not go on from the same epoch, or are more than there are GPUs; or its start or a
                teacher knows faces that were held out.
        """
        first = is_first_process(self.devices * self.nodes)
        before = self._before()
        if self._resume_from is None:
            check_free(self.folder)
        if self.finished or stop_after == 0:
            if first and self._is_back:
                with alone(self.folder, ANOTHER_RUN):
                    go_back(self.folder, self.state.epoch)
            return
        check_gpus(self.device, self.devices)
        self._check_size()
        targets, inputs = self._given(before)
        if before and before.device != self.device.description:
            progress(f"so far on {before.device}: the rest will not be what it would have been there")
        for line in described(self._training_set(), self.data):
            progress(line)
        if self._resume_from is None:
            self._start()
        self._freeze()
        self.device.place(self.model)
        judge = Judge(self, progress, on_epoch, stop_after)
        module = FaceModule(
            self.model, self.config, self.training, targets, self.normalise, self.device, judge.after_epoch
        )
        judge.module = module
        try:
            with ExitStack() as held:
                held.enter_context(quiet_lightning())
                trainer = self._trainer(judge)  # refuses settings before the folder is emptied
                if first:
                    held.enter_context(alone(self.folder, ANOTHER_RUN))
                    self._open_folder(before, inputs)
                trainer.fit(module, ckpt_path=self._resume_from, weights_only=True)
        except SIGTERMException as exc:
            progress("stopped by SIGTERM; the same command goes on")
            raise SystemExit(128 + signal.SIGTERM) from exc
        except LossNotFiniteError as exc:
            if first:
                self._save_bad_batch(exc)
            raise
        except OSError as exc:  # TensorBoard's files, the folder itself
            raise UnwrittenError(f"{self.folder}: {exc}; what was saved before is intact") from exc
        except CheckpointError as exc:  # all of them were read by now
            raise UnwrittenError(exc.message) from exc
        self._resume_from = self.folder / "last.ckpt"

    def best(self) -> nn.Module:
        """Return the network with the weights of the best epoch, in eval mode.

        Raises:
            CheckpointError: There is no best epoch yet, or the file is corrupt.
        """
        path = self.folder / "best.ckpt"
        saved = read_checkpoint(path, "network")
        self._load(saved["network"], path)
        # Killed between the two files, a run has one epoch more in this one than in `last.ckpt`.
        self.state.best_epoch = int(saved.get("epoch", self.state.best_epoch))
        return self.device.place(self.model).eval()

    def _load(self, weights: dict[str, Any], path: Path) -> None:
        try:
            self.model.load_state_dict(weights)
        except (RuntimeError, AttributeError) as exc:
            first = " ".join(str(exc).split("\n\t")[:2])  # of many, a line for each tensor
            raise CheckpointError(
                f"{path}: does not fit {self.spec.architecture} ({first}); start anew, --fresh"
            ) from exc

    def _start(self) -> None:
        """Give the network its initial weights and let it measure what it needs."""
        torch.manual_seed(self.config.train.seed)
        initialise(self.model, self.spec, self.config.init)
        few = np.random.default_rng(0).permutation(len(self.training))[:CALIBRATION_FACES]
        calibrate(self.model, self.normalise(torch.from_numpy(self.training.images[few])))

    def _check_size(self) -> None:
        """See that the network takes faces of `augment.size` as it takes those of 48 pixels.

        Raises:
            SettingsError: It does not, or it scales faces to a size of its own, which would stretch the smaller ones.
        """
        size = self.config.augment.size
        if size is None or size == SIDE:
            return
        if hasattr(self.model, "side"):
            raise SettingsError(f"augment.size: {type(self.model).__name__} scales faces itself, to model.side")
        try:
            with torch.no_grad():
                self.model.eval()(torch.zeros(2, 1, size, size))
        except RuntimeError as exc:
            first = str(exc).splitlines()[0]
            raise SettingsError(f"augment.size={size}: {type(self.model).__name__} cannot take it: {first}") from exc
        finally:
            self.model.train()  # Lightning warns of what begins in eval mode

    def _freeze(self) -> None:
        """Let everything learn but what the settings freeze, whatever the network came with."""
        for parameter in self.model.parameters():
            parameter.requires_grad = True
        freeze(self.model, self.config.train.freeze)
        if self.config.train.body_lr_factor == 0:
            freeze_body(self.model)

    def _training_set(self) -> TrainingSet:
        if self.faces is None:
            self.faces = training_set(self.data, self.config, self.aux, self.cache)
        return self.faces

    def _inputs(self) -> dict[str, str]:
        """Return the sha256 of what the run is given beside the data, as far as it can be told without a teacher."""
        votes, init = self.data.split("Training").votes, init_sha256(self.config.init, self.spec.inits)
        found = {"votes": array_sha256(votes)} if votes is not None and self.config.data.votes else {}
        if self.config.data.holdout:
            found["held-out rows"] = array_sha256(self.validation.rows)
        if init is not None:
            found["initial weights"] = init
        return found | {f"auxiliary set {name}": sha for name, sha in self._training_set().aux_sha256.items()}

    def _given(self, before: RunRecord | None) -> tuple[Targets, dict[str, str]]:
        """Return the targets, and the sha256 of what the run is given beside the data.

        Raises:
            SettingsError: It is not what the run was begun with.
        """
        inputs, teacher = self._inputs(), None
        if before:
            before.check_inputs(self.folder, inputs)  # asking teachers takes minutes
        from affect_training.teachers import installed_host, teacher_probabilities

        if self.config.data.holdout:
            start = self.config.init
            known = [*self.config.train.teacher, *([start] if Path(start).is_file() else [])]
            check_holdout(known, installed_host(), self.data.sha256, self.config.data.holdout)
        if self.config.train.teacher:
            taught = teacher_probabilities(self.config.train.teacher, self.training.images, self.device)
            teacher = taught.probabilities
            inputs |= {f"teacher {k}": sha for k, sha in enumerate(taught.sha256, start=1) if sha}
            if before:
                before.check_inputs(self.folder, inputs)
        return Targets.of(self.training, self.config.train, teacher), inputs

    def _trainer(self, judge: Judge) -> Trainer:
        files = WholeFile()
        callbacks: list[Callback] = [
            SameEpoch(self.folder, self.state.epoch),
            OwnEnd(),
            judge,
            EveryEpoch(self.folder / "last.ckpt", files, self.keep),
        ]
        bar = is_interactive()
        if bar:
            callbacks.append(EpochBar(leave=False))
        gpu = self.device.is_cuda
        index = self.device.torch.index or 0
        return Trainer(
            accelerator="gpu" if gpu else "cpu",
            devices=[index] if gpu and self.devices == 1 else self.devices,
            num_nodes=self.nodes,
            strategy="ddp" if self.devices * self.nodes > 1 else "auto",
            use_distributed_sampler=False,
            max_epochs=self.config.train.epochs,
            callbacks=callbacks,
            plugins=[files, *cluster(self.devices, self.nodes)],
            default_root_dir=self.folder,
            logger=TensorBoardLogger(self.folder, name="tensorboard", version=""),
            enable_checkpointing=True,
            enable_progress_bar=bar,
            enable_model_summary=False,
            log_every_n_steps=LOG_STEPS,
            num_sanity_val_steps=0,
        )

    def _save_bad_batch(self, exc: LossNotFiniteError) -> None:
        rows = self.training.rows[np.asarray(exc.rows)].tolist()
        facts = {"epoch": exc.epoch, "step": exc.step, "indices": exc.rows, "rows_of_the_data": rows}
        save_text(json.dumps(facts) + "\n", self.folder / "nan-batch.json")

    def _before(self) -> RunRecord | None:
        """Return the record of the run that is gone on with; None for a new one, and when it is lost.

        Raises:
            SettingsError: It was begun with other data.
        """
        if self._resume_from is None:
            return None
        try:
            before = RunRecord.read(self.folder)
        except CheckpointError as exc:
            log.warning("%s; whether the run goes on with what it was begun with is not known", exc.message)
            return None
        # A finished run trains on nothing any more: its faces need not be put together to be counted.
        before.check_faces(self.folder, self.data.sha256, None if self.finished else len(self.training))
        return before

    def _open_folder(self, before: RunRecord | None, inputs: dict[str, str]) -> None:
        """Write the run's record; a new run leaves nothing of an old one in its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._is_back:
            go_back(self.folder, self.state.epoch)
        if self._resume_from is None:
            empty_folder(self.folder)
        record = RunRecord(
            architecture=self.spec.architecture,
            config=self.config.model_dump(mode="json"),
            data_set=DataSet.of(self.data, self.config.data.aux),
            data_sha256=self.data.sha256,
            inputs_sha256=inputs,
            faces={name: len(split) for name, split in self.data.splits.items()},
            faces_trained_on=len(self.training),
            made_of=self._training_set().made_of,
            blank_dropped=self.data.blank,
            packages=package_versions(),
            git_commit=git_commit(),
            device=self.device.description,
            processes=self.devices * self.nodes,
            aux=str(self.aux) if self.config.data.aux else None,
        )
        (record.after(before, self.state.epoch) if before else record).save(self.folder)


def open_run(folder: Path, data: FaceData, device: Device) -> Run:
    """Open the run of a folder, by its record.

    Raises:
        CheckpointError: The folder is not that of a run, or the run is of a version with other settings.
    """
    from affect.plugins import PluginHost

    record = RunRecord.read(folder)
    try:
        config = RunConfig.model_validate(record.config)
    except ValidationError as exc:
        raise CheckpointError(
            f"{folder}: a run of another version of affect-train ({first_problem(exc, 'config')})"
        ) from exc
    aux = Path(record.aux) if record.aux else None
    run = Run(folder, PluginHost().recipes.get(config.recipe), config, data, device, aux=aux)
    run.resume()
    return run
