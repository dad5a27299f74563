import inspect

import pytest

from affect import hookspecs
from affect.plugins import HOOKS


def test_the_host_calls_every_hook_there_is() -> None:
    specified = [
        name
        for name, thing in vars(hookspecs).items()
        if inspect.isfunction(thing) and hasattr(thing, f"{hookspecs.PROJECT}_spec")
    ]
    assert sorted(HOOKS) == sorted(specified)
    assert len(specified) == 5


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_takes_one_callable(hook: str) -> None:
    function = getattr(hookspecs, hook)
    assert "register(" in inspect.getdoc(function)  # type: ignore[operator]
    assert list(inspect.signature(function).parameters) == ["register"]


def test_hookimpl_is_what_the_package_offers() -> None:
    import affect

    assert affect.hookimpl is hookspecs.hookimpl
    assert affect.hookimpl.project_name == "affect"
