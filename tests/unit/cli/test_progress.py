import io

from rich.console import Console

from affect.cli.progress import Reporter


def test_a_log_has_a_line_a_file_and_one_a_minute() -> None:
    log, clock = io.StringIO(), [0.0]
    with Reporter(2, Console(file=log, width=200), now=lambda: clock[0]) as reporter:
        reporter.begin("a.mp4")
        for _ in range(150):
            clock[0] += 1
            reporter.frame(300)
        reporter.end()
        reporter.begin("b.mp4")
        reporter.frame(None)
        reporter.end()
    assert log.getvalue().splitlines() == [
        "1 of 2: a.mp4",
        "1 of 2: 60 of about 300 frames",
        "1 of 2: 120 of about 300 frames",
        "2 of 2: b.mp4",
    ]


def test_a_terminal_has_bars() -> None:
    shown = io.StringIO()
    with Reporter(1, Console(file=shown, force_terminal=True, width=80)) as reporter:
        reporter.begin("a.mp4")
        reporter.end()
    assert "all inputs" in shown.getvalue()
    assert "1 of 1: a.mp4" not in shown.getvalue()
