"""Search over the settings of a run: Optuna's samplers and pruners around `affect_training.run`.

A study is a folder: `study.db` (SQLite), one run folder a trial, and what the search has found so far. Every trial's
draw follows from (seed, trial number, earlier results), so a study that was killed goes on where it was, down to the
epoch of the trial, and ends like an unbroken one. Trials are judged on PublicTest, as runs select their epoch.
"""

import csv
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affect.errors import AffectError, SettingsError
from affect.registry import RecipeSpec
from affect_training.config import TABLES, RunConfig, run_config
from affect_training.search_space import Scalar, Space, grid_of, tables_of
from affect_training.selection import selection_score
from affect_training.tune_files import as_toml, plot_shares

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

    from affect.inference.device import Device
    from affect_training.data import FaceData
    from affect_training.data.training import TrainingSet
    from affect_training.run import EpochResult

Method = Literal["grid", "random", "tpe"]
Prune = Literal["none", "median", "hyperband"]
TPE_STARTUP = 10
"""Trials drawn at random before the others are learnt from (Optuna's own)."""
PRUNE_STARTUP = 5
"""Trials that run to their end before the median prunes (Optuna's default)."""
FACES_KEPT = 4
"""Training sets in memory at a time, each of 70 to 120 MB with FER2013."""


@dataclass(frozen=True, slots=True)
class StudySpec:
    """What is searched and how.

    Attributes:
        recipe: What is trained.
        base: Table as in a run file that every trial starts from.
        space: What each trial changes.
        epochs: Epochs of a trial.
        method: `grid` walks through all combinations, `random` and `tpe` (Bergstra 2011) draw.
        prune: End trials early that fall behind: `median` of the earlier ones, or `hyperband` (Li 2018).
        seed: Of the sampler; the runs have `train.seed`.
    """

    recipe: RecipeSpec
    base: dict[str, Any]
    space: Space
    epochs: int
    method: Method = "tpe"
    prune: Prune = "none"
    seed: int = 0
    grid: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        if "train.epochs" in self.space:
            raise SettingsError("--search epochs: all trials run for the same number of epochs; set it with --epochs N")
        for key in ("train.select", "data.holdout"):
            if key in self.space:
                raise SettingsError(f"--search {key}: trials must be judged alike; --set it for all")
        object.__setattr__(self, "grid", grid_of(self.space) if self.method == "grid" else [])

    def config(self, drawn: dict[str, Any]) -> RunConfig:
        """Return the run of a trial, from {TABLE.NAME: setting}.

        Raises:
            SettingsError: A key is unknown or a value is out of range.
        """
        epochs = {"train": {"epochs": self.epochs}}
        return run_config(self.recipe, self.base, epochs, tables_of(drawn))

    def check(self) -> None:
        """Try every choice, and both ends of every range, with the first and with the last of the others.

        Raises:
            SettingsError: One fits neither; those that only some combinations stand fail as trials.
        """
        for key, parameter in self.space.items():
            for drawn in parameter.ends():
                try:
                    self.config(self._corner(0, {key: drawn}))
                except SettingsError:
                    self.config(self._corner(-1, {key: drawn}))

    def _corner(self, pick: int, drawn: Mapping[str, Scalar]) -> dict[str, Any]:
        return {key: p.value(drawn.get(key, p.ends()[pick])) for key, p in self.space.items()}

    def identity(self) -> dict[str, Any]:
        """Return what makes two studies the same one, as plain data."""
        return {
            "recipe": self.recipe.name,
            "base": self.base,
            "space": {key: str(parameter) for key, parameter in self.space.items()},
            "epochs": self.epochs,
            "method": self.method,
            "prune": self.prune,
            "seed": self.seed,
            **({"order": list(self.space)} if self.method == "grid" else {}),  # which combination a trial's number is
        }


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial of the table: `score` is the best epoch's; `pruned` and `failed` trials have one if they got so far."""

    number: int
    state: str
    score: float | None
    epochs: int
    drawn: dict[str, Any]


class Tuning:
    """A study in a folder.

    Args:
        folder: Where it is kept; an earlier study of the same settings goes on.
        spec: What is searched.
        data: The faces.
        device: Where it runs.
        aux: Folder of the auxiliary sets.
        cache: Folder for their parsed arrays; None parses them anew.

    Raises:
        SettingsError: The folder holds a study of other settings, or the space does not fit the recipe.
    """

    def __init__(
        self,
        folder: Path,
        spec: StudySpec,
        data: "FaceData",
        device: "Device",
        *,
        aux: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        import optuna

        from affect_training.provenance import array_sha256

        self.folder, self.spec, self.data, self.device = folder, spec, data, device
        self.aux, self.cache = aux, cache
        self._faces: dict[Hashable, TrainingSet] = {}
        spec.check()
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study: Study = optuna.create_study(
            study_name=folder.name,
            storage=f"sqlite:///{(folder / 'study.db').resolve()}",
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(spec),
        )
        identity = json.loads(json.dumps({**spec.identity(), "data_sha256": data.sha256}))
        votes = data.split("Training").votes
        if votes is not None:
            identity["votes_sha256"] = array_sha256(votes)
        known = self.study.user_attrs.get("identity")
        if known is None:
            self.study.set_user_attr("identity", identity)
        elif differing := [key for key in identity if known.get(key, identity[key]) != identity[key]]:
            names = ", ".join(differing)
            raise SettingsError(f"{folder} holds a study with other settings ({names}); choose another --study")

    def run(self, trials: int, progress: Callable[[str], None]) -> None:
        """Go on until the study has so many trials; a grid ends at the latest when it is through.

        Raises:
            SettingsError: Another process works on this study, or no trial at all could be trained.
            UnwrittenError: A file of a trial could not be written.
        """
        wanted = min(trials, len(self.spec.grid)) if self.spec.method == "grid" else trials
        from affect_training.storage import alone

        with alone(self.folder, "study; choose another --study"):
            for trial in self._left_running():
                self._trial(trial, progress)
            while (number := self._begun()) < wanted:
                self._trial(self._ask(number), progress)
        rows = self.rows()
        if rows and all(row.state == "failed" for row in rows):
            why = self.study.get_trials(deepcopy=False)[-1].user_attrs.get("error", "unknown")
            raise SettingsError(f"all {len(rows)} trials failed; the last one: {why}")

    def rows(self) -> list[TrialRow]:
        """Return all trials, best first."""
        rows = []
        for trial in self.study.get_trials(deepcopy=False):
            seen = trial.intermediate_values
            state = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name, "running")
            best = max(seen.values()) if seen else None
            rows.append(TrialRow(trial.number, state, best, max(seen, default=0), self.drawn(trial.params)))
        return sorted(rows, key=lambda row: (row.state != "done", -(row.score or 0.0), row.number))

    def drawn(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was drawn as settings {TABLE.NAME: setting}; what was not drawn yet is left out."""
        return {key: p.value(params[key]) for key, p in self.spec.space.items() if key in params}

    def importances(self) -> dict[str, float]:
        """Return the share of each setting in the variance of the score (fANOVA, Hutter 2014), largest first.

        Returns:
            Shares that sum to 1; empty while there are fewer than four finished trials or all score the same.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances
        from optuna.trial import TrialState

        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        varied = [key for key in self.spec.space if len({repr(trial.params[key]) for trial in done}) > 1]
        if len(done) < 4 or len({trial.value for trial in done}) < 2 or not varied:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        return {key: float(v) for key, v in get_param_importances(self.study, evaluator=evaluator).items()}

    def write(self) -> list[Path]:
        """Write `trials.csv`, and, once there is something to tell, `best.toml` and `importance.png`."""
        written = [self.folder / "trials.csv"]
        rows = self.rows()
        with written[0].open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["trial", "state", "score", "epochs", *self.spec.space])
            for row in rows:
                table.writerow(
                    [row.number, row.state, row.score, row.epochs, *(row.drawn.get(key) for key in self.spec.space)]
                )
        if rows and rows[0].state == "done":
            written.append(self.folder / "best.toml")
            written[-1].write_text(self._best(rows[0], len(rows)), encoding="utf-8")
        if shares := self.importances():
            written.append(self.folder / "importance.png")
            plot_shares(shares, written[-1], f"{self.spec.recipe.name}: what the score depends on")
        return written

    def _begun(self) -> int:
        return sum(trial.state.name != "WAITING" for trial in self.study.get_trials(deepcopy=False))

    def _ask(self, number: int) -> "Trial":
        if self.spec.method == "grid" and number == len(self.study.get_trials(deepcopy=False)):
            self.study.enqueue_trial(self.spec.grid[number])
        # A sampler of its own for each trial: a study that is taken up again does not draw the first ones once more.
        self.study.sampler = _sampler(self.spec, number)
        return self.study.ask({key: parameter.distribution() for key, parameter in self.spec.space.items()})

    def _left_running(self) -> Iterator["Trial"]:
        """Yield the trials that a killed process has left, fully drawn."""
        from optuna.trial import Trial, TrialState

        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.sampler = _sampler(self.spec, left.number)
            trial = Trial(self.study, left._trial_id)
            for key, parameter in self.spec.space.items():
                trial._suggest(key, parameter.distribution())
            yield trial

    def _trial(self, trial: "Trial", progress: Callable[[str], None]) -> None:
        from optuna import TrialPruned
        from optuna.trial import TrialState

        from affect_training.storage import BROKEN_GPU, UnwrittenError

        shown = "  ".join(f"{key} {short(value)}" for key, value in self.drawn(trial.params).items())
        try:
            score = self._train(trial)
        except TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            outcome = "pruned"
        except (UnwrittenError, *BROKEN_GPU):  # no fault of the trial: it goes on when there is room, or a GPU
            raise
        except Exception as exc:  # a loss that is not finite, arguments the network or torch does not take, ...
            why = exc.message if isinstance(exc, AffectError) else f"{type(exc).__name__}: {exc}"
            trial.set_user_attr("error", why)
            self.study.tell(trial, state=TrialState.FAIL)
            outcome, shown = "failed", f"{shown}  ({why})"
        else:
            self.study.tell(trial, score)
            outcome = f"{score:.4f}"
        progress(f"trial {trial.number:3d}  {outcome:7}  {shown}")
        self._tidy()

    def _train(self, trial: "Trial") -> float:
        """Train a trial, from where it was left, and return the score of its best epoch."""
        from optuna import TrialPruned

        from affect_training.data.training import training_key
        from affect_training.run import EpochResult, Run

        config = self.spec.config(self.drawn(trial.params))
        folder = self.folder / _trial_name(trial.number)
        key = training_key(config)
        faces = self._faces.get(key)
        run = Run(folder, self.spec.recipe, config, self.data, self.device, aux=self.aux, cache=self.cache, faces=faces)
        run.resume()
        seen = dict(self.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

        def on_epoch(result: EpochResult) -> None:
            if result.epoch not in seen:  # else it was reported before the kill, but its checkpoint not yet written
                seen[result.epoch] = score_of(result, config)
                trial.report(seen[result.epoch], result.epoch)
            if trial.should_prune():
                raise TrialPruned

        try:
            run.fit(_quiet, on_epoch=on_epoch)
        finally:
            if run.faces is not None:
                self._faces[key] = run.faces
            if len(self._faces) > FACES_KEPT:
                del self._faces[next(iter(self._faces))]
        return max(seen.values())

    def _tidy(self) -> None:
        """Delete the checkpoints of all ended trials but the best one's."""
        best = self.rows()[0].number
        for trial in self.study.get_trials(deepcopy=False):
            if trial.number != best and trial.state.is_finished():
                for name in ("last.ckpt", "best.ckpt"):
                    (self.folder / _trial_name(trial.number) / name).unlink(missing_ok=True)

    def _best(self, row: TrialRow, count: int) -> str:
        """Return the run file of a trial; its epochs are left to the recipe."""
        spec, score = self.spec, f"{row.score:.4f}"
        lines = [
            f"# Trial {row.number} of {count} ({spec.method}): PublicTest score {score} in {spec.epochs} epochs.",
            f"# That trial again: affect-train run {spec.recipe.name} --run-file THIS --set epochs={spec.epochs}",
            f"recipe = {as_toml(spec.recipe.name)}",
        ]
        if "init" in spec.base:
            lines.append(f"init = {as_toml(spec.base['init'])}")
        chosen = tables_of(row.drawn)
        for name in TABLES:
            table = {**spec.base.get(name, {}), **chosen.get(name, {})}
            if table:
                lines += ["", f"[{name}]", *(f"{key} = {as_toml(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"


def score_of(result: "EpochResult", config: RunConfig) -> float:
    """Return what a run selects its epoch by: the accuracy, or its mean with the macro recall."""
    return float(selection_score(config.train.select, result.accuracy, result.macro_recall))


def short(value: Any) -> str:
    """Return a setting for tables: four digits of a number are enough."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sampler(spec: StudySpec, number: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler

    seed = (spec.seed * 100_003 + number) % 2**32
    if spec.method == "tpe":
        return TPESampler(seed=seed, n_startup_trials=TPE_STARTUP)
    return RandomSampler(seed=seed)


def _pruner(spec: StudySpec) -> "BasePruner":
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if spec.prune == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=spec.epochs, reduction_factor=3)
    if spec.prune == "median":
        return MedianPruner(n_startup_trials=PRUNE_STARTUP, n_warmup_steps=max(spec.epochs // 5, 1))
    return NopPruner()


def _trial_name(number: int) -> str:
    return f"trial-{number:04d}"


def _quiet(_: str) -> None:
    """Report to nobody: a trial's epochs are in its log."""
