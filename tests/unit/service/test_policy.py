"""The policy gate: which grants are refused, and for what reason."""

from typing import Any

import pytest

from affect.errors import ErrorCode, PolicyError
from affect.service.policy import check_consent
from affect.service.protocol import Consent
from affect.settings.service import ServiceSettings

MEMBERS = [
    "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "EL", "HU", "IE", "IT", "LV",
    "LT", "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE", "IS", "LI", "NO", "EU", "EEA",
]  # fmt: skip


def grant(settings: dict[str, Any] | None = None, **fields: Any) -> None:
    consent = Consent.model_validate({"granted": True, **fields})
    check_consent(consent, ServiceSettings.model_validate(settings or {}))


@pytest.mark.parametrize("context", ["education_institution", "workplace"])
@pytest.mark.parametrize("jurisdiction", [*MEMBERS, "de", "eea"])
def test_the_law_of_every_member_holds(context: str, jurisdiction: str) -> None:
    with pytest.raises(PolicyError, match=r"Art\. 5\(1\)\(f\)") as caught:
        grant(context=context, jurisdiction=jurisdiction)
    assert caught.value.code is ErrorCode.POLICY_REFUSED


@pytest.mark.parametrize("purpose", ["medical", "safety", " Medical "])
def test_medical_and_safety_purposes_are_exempt(purpose: str) -> None:
    grant(context="workplace", jurisdiction="FR", purpose=purpose)


@pytest.mark.parametrize("purpose", ["not medical", "medical research", "safety of marks", "", "teaching"])
def test_no_other_purpose_is(purpose: str) -> None:
    with pytest.raises(PolicyError):
        grant(context="workplace", jurisdiction="FR", purpose=purpose)


@pytest.mark.parametrize("context", ["self_directed", "research"])
def test_other_contexts_are_allowed_everywhere(context: str) -> None:
    grant(context=context, jurisdiction="DE")
    grant(context=context)


def test_elsewhere_a_school_may() -> None:
    grant(context="education_institution", jurisdiction="CH")
    with pytest.raises(PolicyError, match="name the jurisdiction"):
        grant(context="education_institution")


def test_the_operators_word_holds_where_the_client_says_nothing() -> None:
    school = {"context": "education_institution", "jurisdiction": "SE"}
    with pytest.raises(PolicyError, match="prohibited in SE"):
        grant(school)
    with pytest.raises(PolicyError, match="prohibited in SE"):
        grant({"jurisdiction": "SE"}, context="workplace")
    grant({"jurisdiction": "SE"}, context="workplace", jurisdiction="US")
    grant(school, context="self_directed")
    grant(school, jurisdiction="US")


def test_a_revocation_is_never_refused() -> None:
    consent = Consent(granted=False, context="workplace", jurisdiction="DE")
    check_consent(consent, ServiceSettings())
