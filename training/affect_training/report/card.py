"""Model cards (Mitchell et al. 2019) in Markdown, generated: every figure comes from a file, none is typed.

What a card says about use is the same for all of ours, as all read faces; the rest follows from the facts.
"""

import json
from collections.abc import Mapping

from affect.labels import EMOTIONS
from affect_training.data.faces import FER2013
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Labels
from affect_training.report.facts import CardFacts
from affect_training.report.markdown import mapping, plain, sentence, table, value_of
from affect_training.report.measured import (
    calibration_part,
    classes_part,
    counts_of,
    evaluation_part,
    figures_part,
    learner_part,
    whole_pictures_part,
)

_NAMES = tuple(e.value for e in EMOTIONS)

MUST_NOT = (
    "Grading, admission, placement, or any other judgement of a person.",
    "Hiring, promotion, appraisal, or other decisions about work.",
    "Surveillance: people who did not agree, groups, public places.",
    "Proctoring: looking for cheating or inattention in examinations.",
    "Diagnosis, lie detection, advertising, or policing.",
    "In the EU, on learners or staff at all, except for medical or safety reasons (AI Act, Art. 5(1)(f)).",
)
FER2013_LIMITS = (
    "FER2013 is made of web search results for emotion words: posed and acted faces more than everyday ones, 48x48 "
    "pixels, grey. People agree with its labels in about 65 of 100 cases (Goodfellow et al. 2013).",
    "Age, gender, origin and skin colour of its faces are not recorded, so error rates of groups are unknown unless a "
    "table below gives them. Expect that they differ.",
)
OTHER_LIMITS = (
    "What faces the data show, who labelled them and how far people agree is for whoever brought the data to say.",
    "Error rates of groups of people are unknown unless a table below gives them. Expect that they differ.",
)
LIMITS = ("An expression is no measurement of what a person feels.",)
_WEAK_RECALL, _MUCH_CONFUSED, _FALL = 0.5, 0.15, 0.10
"""Below, above and by which recall, a confusion and a fall of accuracy are named as failures."""


def card(facts: CardFacts) -> str:
    """Write the card."""
    parts = [
        [f"# Model card: {facts.name}", "", *([sentence(facts.summary), ""] if facts.summary else [])],
        _network(facts),
        _use(),
        _data(facts),
        _selection(facts),
        figures_part(facts),
        classes_part(facts),
        calibration_part(facts),
        *(evaluation_part(evaluation) for evaluation in facts.evaluations),
        *(whole_pictures_part(found) for found in facts.whole_pictures),
        learner_part(facts),
        _failures(facts),
        _configuration(facts),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _network(facts: CardFacts) -> list[str]:
    rows: list[tuple[str, str]] = []
    if facts.architecture:
        rows.append(("architecture", f"`{facts.architecture}`"))
    if facts.recipe:
        rows.append(("recipe", f"`{facts.recipe.name}`: {facts.recipe.source}"))
        if facts.recipe.published:
            rows.append(("published", facts.recipe.published))
    if facts.parameters:
        rows.append(("parameters", f"{facts.parameters:,}"))
    if facts.megabytes:
        rows.append(("weights", f"{facts.megabytes:.1f} MB"))
    if facts.input:
        kind = "grey" if facts.input.channels == 1 else "RGB"
        rows.append(("input", f"{kind} faces of {facts.input.size}x{facts.input.size} pixels"))
    rows.append(("output", f"probabilities of {', '.join(_NAMES)}"))
    if facts.weights_sha256:
        rows.append(("sha256", f"`{facts.weights_sha256}`"))
    lines = [*table(("what", ""), rows), ""]
    if facts.members:
        head = ("member", "weight", "accuracy with all members up to this one", "sha256")
        members = [
            (
                v.name,
                f"{v.weight:.3f}",
                value_of(v.metrics.get("accuracy")),
                f"`{v.weights_sha256}`" if v.weights_sha256 else "",
            )
            for v in facts.members
        ]
        lines += ["## Members", "", *table(head, members), ""]
    return lines


def _use() -> list[str]:
    return [
        "## Use",
        "",
        "Made for a tutor that reacts more kindly and at a better moment to a learner who has agreed. A wrong guess "
        "must cost no more than a needless hint. It must not be used for:",
        "",
        *(f"- {item}" for item in MUST_NOT),
        "",
    ]


def _data(facts: CardFacts) -> list[str]:
    lines = ["## Data and licence", ""]
    if facts.data:
        lines += [facts.data, ""]
    faces, blank = mapping(facts.training.get("faces")), mapping(facts.training.get("blank_dropped"))
    if faces:
        rows = [(split, f"{count:,}", str(blank.get(split, 0))) for split, count in faces.items()]
        lines += [*table(("split", "faces", "blank, dropped"), rows), ""]
    for known in (facts, *(voter.facts for voter in facts.members)):
        lines += _pretrained(known, whose="" if known is facts else f" of {known.name}") if known else []
    if facts.training.get("data_sha256"):
        lines += [f"sha256 of the data file: `{facts.training['data_sha256']}`", ""]
    lines += [f"**Licence.** {sentence(facts.licence) if facts.licence else 'Not stated.'}", ""]
    return lines


def _pretrained(facts: CardFacts, whose: str) -> list[str]:
    init = str(facts.config.get("init", "none"))
    if init == "none":
        return []
    notes, origin = (dict(facts.recipe.init_notes), facts.recipe.init) if facts.recipe else ({}, "none")
    note, of = notes.get(init.partition(":")[0], ""), ""
    if init.endswith(".safetensors"):
        sha256 = mapping(facts.training.get("inputs_sha256")).get("initial weights")
        of = f" (sha256 `{sha256}`)" if sha256 else ""
        earlier = notes.get(origin.partition(":")[0], "")
        note = f"Weights of an earlier run, which began as the recipe does, `{origin}`: {earlier}" if earlier else ""
    return [f"**Pretrained start**{whose} `{init}`{of}. {note}".rstrip(), ""]


def _selection(facts: CardFacts) -> list[str]:
    training = facts.training
    rows: list[tuple[str, str]] = []
    selection = training.get("selection")
    if isinstance(selection, str) and selection:
        rows.append(("selected", selection))
    elif isinstance(selection, Mapping):
        rows += [(str(key).replace("_", " "), plain(value)) for key, value in selection.items()]
    if training.get("best_epoch") is not None:
        rows.append(("epoch", f"{training['best_epoch']} of {training.get('epochs', '?')}{_cut(facts)}"))
    if training.get("minutes") is not None:
        rows.append(("minutes of training", str(training["minutes"])))
    for key, word in (("device", "machine"), ("git_commit", "commit")):
        if training.get(key):
            rows.append((word, str(training[key])))
    packages = mapping(training.get("packages"))
    if packages:
        rows.append(("packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    if not rows:
        return []
    return [
        "## Selection",
        "",
        "What was selected on PublicTest looks a little too good there; a split that nothing was selected on tells "
        "how much.",
        "",
        *table(("what", ""), rows),
        "",
    ]


def _cut(facts: CardFacts) -> str:
    """Say that a run has not come to its end: its rate had not fallen as it was to."""
    planned = mapping(facts.config.get("train")).get("epochs")
    return f"; cut, up to {planned} were planned" if facts.training.get("finished") is False else ""


def _failures(facts: CardFacts) -> list[str]:
    found: list[str] = []
    if (counted := counts_of(facts)) is not None:
        found += _class_failures(counted[0])
    if facts.answers is not None:
        top = facts.answers.probabilities.max(axis=1)
        right = facts.answers.probabilities.argmax(1) == facts.answers.labels
        sure = top >= 0.9
        if sure.any():
            found.append(
                f"Of the guesses with a probability of .9 or more, {100 * (1 - right[sure].mean()):.0f} % are wrong."
            )
    for evaluation in facts.evaluations:
        if evaluation.robustness:
            clean = evaluation.robustness.clean.accuracy
            for name, curve in evaluation.robustness.curves.items():
                worst = curve.points[-1]
                if clean - worst.accuracy >= _FALL:
                    found.append(
                        f"{name.capitalize()} ({curve.unit} {worst.severity:g}) takes accuracy from {clean:.2f} to "
                        f"{worst.accuracy:.2f}."
                    )
        if evaluation.adversarial and evaluation.adversarial.attacks:
            hardest = min(evaluation.adversarial.attacks, key=lambda a: a.accuracy)
            found.append(
                f"An attacker who knows the network and may change each pixel by {hardest.epsilon:g} of 255 grey "
                f"levels brings accuracy to {hardest.accuracy:.2f}."
            )
    for pictures in facts.whole_pictures:
        if pictures.recall < 1:
            found.append(f"{100 * (1 - pictures.recall):.0f} % of faces in whole pictures are not found at all.")
    return ["## Known failures", "", *(f"- {line}" for line in (*found, *limits_of(facts))), ""]


def limits_of(facts: CardFacts) -> tuple[str, ...]:
    """Return what limits any such classifier, and what the data that it or its members were trained on limit."""
    known = [voter.facts for voter in facts.members if voter.facts is not None] or [facts]
    kinds = {mapping(one.training.get("data_set")).get("kind", FER2013[0]) in FER2013 for one in known}
    return (*(FER2013_LIMITS if True in kinds else ()), *(OTHER_LIMITS if False in kinds else ()), *LIMITS)


def _class_failures(counts: Labels) -> list[str]:
    lines = []
    shares = metrics.normalised(counts)
    for k, figures in enumerate(metrics.per_class(counts)):
        if figures.n and figures.recall < _WEAK_RECALL:
            lines.append(f"Of {figures.n} faces labelled {_NAMES[k]}, {100 * (1 - figures.recall):.0f} % are missed.")
    pairs = [(shares[i, j], i, j) for i in range(len(shares)) for j in range(len(shares)) if i != j]
    for share, i, j in sorted(pairs, reverse=True):
        if share >= _MUCH_CONFUSED:
            lines.append(f"{_NAMES[i].capitalize()} is taken for {_NAMES[j]} in {100 * share:.0f} % of its faces.")
    return lines


def _configuration(facts: CardFacts) -> list[str]:
    if not facts.config:
        return []
    text = json.dumps(facts.config, indent=2)
    return ["## Configuration", "", "```json", text, "```", ""]
