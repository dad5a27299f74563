"""The consent and policy gate: no picture is processed without consent, nor for a use that the law forbids.

EU AI Act (Regulation 2024/1689), Art. 5(1)(f), in force since 2 February 2025, prohibits systems that infer emotions
of natural persons in the areas of workplace and education institutions, except for medical or safety reasons. The
gate knows only what the client declares; it is a reminder with teeth, not legal advice.
"""

from affect.errors import ErrorCode, PolicyError
from affect.service.protocol import Consent
from affect.settings.service import ServiceSettings

EU_AND_EEA = frozenset(
    [
        "EU",
        "EEA",
        "AT",
        "BE",
        "BG",
        "HR",
        "CY",
        "CZ",
        "DK",
        "EE",
        "FI",
        "FR",
        "DE",
        "GR",
        "EL",
        "HU",
        "IE",
        "IT",
        "LV",
        "LT",
        "LU",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SK",
        "SI",
        "ES",
        "SE",
        "IS",
        "LI",
        "NO",
    ]
)
PROHIBITED_CONTEXTS = frozenset({"education_institution", "workplace"})
EXEMPT_PURPOSES = ("medical", "safety")


def check_consent(consent: Consent, settings: ServiceSettings) -> None:
    """Check a grant against the declared context, jurisdiction and purpose.

    Raises:
        PolicyError: The declared use is prohibited; the message names the rule.
    """
    if not consent.granted:
        return
    context = consent.context or settings.context
    jurisdiction = (consent.jurisdiction or settings.jurisdiction).strip().upper()
    if context in PROHIBITED_CONTEXTS and not jurisdiction:
        raise PolicyError(
            f"the context {context!r} is prohibited in places: name the jurisdiction (ISO 3166 alpha-2, EU, EEA)",
            code=ErrorCode.POLICY_REFUSED,
        )
    purpose = (consent.purpose or "").strip().lower()
    if context in PROHIBITED_CONTEXTS and jurisdiction in EU_AND_EEA:
        if purpose in EXEMPT_PURPOSES:
            return
        raise PolicyError(
            f"inferring emotions in the context {context!r} is prohibited in {jurisdiction} "
            "(EU AI Act Art. 5(1)(f)); exempt are only the purposes "
            f"{' and '.join(EXEMPT_PURPOSES)}",
            code=ErrorCode.POLICY_REFUSED,
        )
