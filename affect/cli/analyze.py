"""`affect analyze`: per input a JSONL and CSV of observations, a JSONL and CSV of events, a plot and a record."""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from affect.analysis import Analysis
from affect.cli.outputs import FrameFiles, beside, remove_partial, write_events
from affect.cli.progress import Reporter
from affect.cli.record import AnalysisRecord, Summary, is_of, make_record, read_record, settings_digest, write_record
from affect.cli.timeline import Timeline, plot_timeline
from affect.errors import AffectError, SettingsError
from affect.media import MediaFile, find_media, is_picture, printable
from affect.module import Engine, SyncAffectModule
from affect.pipeline import with_offline_search
from affect.settings import Settings
from affect.video import EVERY_FRAME, Sampling

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How to analyse, beside the settings.

    Attributes:
        sampling: Which frames of videos.
        plot: Write timeline plots.
        resume: Leave out inputs that earlier runs have finished alike.
    """

    sampling: Sampling = EVERY_FRAME
    plot: bool = True
    resume: bool = False


def run(
    inputs: Sequence[Path], out: Path, settings: Settings, options: Options, *, engine: Engine | None = None
) -> int:
    """Analyse every input; returns the exit code: 0, or 1 when any input failed.

    Args:
        inputs: Videos, pictures, or folders of them.
        out: Folder to write to.
        settings: Everything.
        options: How.
        engine: Built by the settings when not given.

    Raises:
        AffectError: An input is missing, the folder cannot be made, or the backend could not be created.
        SystemExit: SIGTERM came; what was finished is whole.
    """
    files = find_media(inputs)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(f"-o {printable(out)}: cannot be made a folder: {exc.strerror}") from exc
    settings = with_offline_search(settings)
    failed = 0
    with terminable(), SyncAffectModule(settings, engine=engine) as module, Reporter(len(files)) as reporter:
        batch = _Batch(out, settings, options, module, reporter)
        for file in files:
            failed += not batch.take(file)
    return 1 if failed else 0


class _Batch:
    """A run over many inputs; none of them ends it."""

    def __init__(
        self, out: Path, settings: Settings, options: Options, module: SyncAffectModule, reporter: Reporter
    ) -> None:
        self._out, self._settings, self._options = out, settings, options
        self._module, self._reporter = module, reporter
        self._digest = settings_digest(settings, options.sampling, plot=options.plot)
        self._summary = Summary(out)

    def take(self, file: MediaFile) -> bool:
        """Analyse one input, say what was found, and return whether it could be analysed."""
        name = printable(file.path)
        found: AnalysisRecord | str
        self._reporter.begin(name)
        try:
            found, said = self._analyse(file, self._out / file.name)
            click.echo(f"{name}: {said}")
        except Exception as exc:  # whatever one file does to a library, the others go on
            told = str(exc) if isinstance(exc, AffectError) else f"{type(exc).__name__}: {exc}"
            found = printable(told).removeprefix(f"{name}: ")
            click.echo(f"{name}: {found}", err=True)
            log.debug("%s", name, exc_info=exc)
        finally:
            self._reporter.end()
        try:
            self._summary.add(file, found)
        except OSError as exc:
            click.echo(f"summary.csv: {exc}", err=True)
        return isinstance(found, AnalysisRecord)

    def _analyse(self, file: MediaFile, base: Path) -> tuple[AnalysisRecord, str]:
        known = read_record(base, file.path)
        if self._options.resume and known and self._is_done(known, file.path, base):
            return known, f"done before -> {printable(base)}.*"
        base.parent.mkdir(parents=True, exist_ok=True)
        remove_partial(base)
        beside(base, ".run.json").unlink(missing_ok=True)  # from here on the results are not whole
        started, stat = time.perf_counter(), file.path.stat()  # a file that grows meanwhile is done again
        session = self._module.for_file(printable(file.name))
        analysis = Analysis(file.path, session, self._options.sampling)
        timeline = Timeline()
        with FrameFiles(base, printable(file.path)) as frames:
            for line in analysis:
                frames.add(line)
                timeline.add(line)
                self._reporter.frame(analysis.total)
        write_events(base, printable(file.path), analysis.events)
        if self._options.plot and not is_picture(file.path):
            plot_timeline(base, timeline, [event.data for event in analysis.events])
        seconds = time.perf_counter() - started
        sampling, digest = self._options.sampling, self._digest
        record = make_record(analysis, stat, self._settings, sampling, digest=digest, seconds=seconds)
        write_record(base, record)
        return record, _said(record, base)

    def _is_done(self, known: AnalysisRecord, path: Path, base: Path) -> bool:
        alike = known.settings == self._digest and is_of(known, path)
        return alike and beside(base, ".observations.csv").is_file()


def _said(record: AnalysisRecord, base: Path) -> str:
    parts = [f"{record.frames} frames", f"learner in {record.learner_in}", f"{record.onsets} onsets"]
    parts += [f"{record.errors} bad frames"] if record.errors else []
    parts += record.video.notes() if record.video else []
    return f"{', '.join(parts)} -> {printable(base)}.*"


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: half files are removed."""

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
