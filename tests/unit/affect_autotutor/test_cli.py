"""The options of `affect-tutor`, without a service."""

import pytest
from affect_autotutor import cli
from click.testing import CliRunner


@pytest.mark.parametrize(
    ("arguments", "environment", "token"),
    [
        ([], "secret", "secret"),
        ([], '"12345"', "12345"),  # as the service wants it, where settings are TOML
        (["--token", '"12345"'], "secret", '"12345"'),
        ([], None, None),
    ],
)
def test_the_token_is_that_of_the_service(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: str | None, token: str | None
) -> None:
    given: list[str | None] = []

    async def run(_url: str, _session: object, told: str | None, _lesson: object, _show: bool) -> None:
        given.append(told)

    monkeypatch.setattr(cli, "_run", run)
    result = CliRunner().invoke(cli.main, arguments, env={"AFFECT_SERVICE__TOKEN": environment})
    assert result.exit_code == 0, result.output
    assert given == [token]
