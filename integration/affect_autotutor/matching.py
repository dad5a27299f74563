"""How much of a sentence a learner's turn says: the share of its words, rare ones weighing more.

This is the weakest part of a reference: a host with sentence embeddings passes its own `Matcher`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before being but by can could did do does doing done each
for from further had has have having he her here him his how i if in into is it its just me more most my now of off on
once one only or other our out over own say see she so some such than that the their them then there these they thing
think this those through to too under until up us very was we were what when where which while who why will with would
you your
"""
_COMMON = frozenset(_FUNCTION_WORDS.split())
_NEGATIONS = frozenset(("no", "not", "never", "none", "nothing", "nobody", "neither", "without"))


class Matcher(Protocol):
    """Says how much of a sentence several turns together say."""

    def coverage(self, said: Iterable[str], sentence: str) -> float:
        """Return 0 (nothing of it) to 1 (all of it)."""
        ...


class WordMatcher:
    """Overlap of stems, weighted by how rare a word is in the lesson.

    A turn that denies what the sentence affirms, or the other way round, counts half: words do not tell more.

    Args:
        sentences: All that can be said in the lesson; what is in most of them tells little.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        bags = [set(stems(sentence)) for sentence in sentences]
        counts = Counter(stem for bag in bags for stem in bag)
        self._weight = {stem: 1 + math.log(len(bags) / count) for stem, count in counts.items()}

    def coverage(self, said: Iterable[str], sentence: str) -> float:
        """Return the weighted share of the sentence's words among all that was said."""
        turns = list(said)
        alike = [turn for turn in turns if denies(turn) == denies(sentence)]
        return max(self._share(alike, sentence), self._share(turns, sentence) / 2)

    def _share(self, turns: Iterable[str], sentence: str) -> float:
        wanted = set(stems(sentence))
        given = {stem for turn in turns for stem in stems(turn)}
        total = sum(self._weight.get(stem, 1.0) for stem in wanted)
        return sum(self._weight.get(stem, 1.0) for stem in wanted & given) / total if total else 0.0


def stems(text: str) -> list[str]:
    """Return the words that carry meaning, without their endings."""
    words = (word.removesuffix("'s") for word in _WORD.findall(text.lower()))
    return [_stem(word) for word in words if word not in _COMMON and word not in _NEGATIONS and "n't" not in word]


def _stem(word: str) -> str:
    for ending in ("ingly", "edly", "ings", "ing", "ed", "ly", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def denies(text: str) -> bool:
    """Return whether there is a word of denial in it; of what, words do not tell."""
    words = _WORD.findall(text.lower())
    return any(word in _NEGATIONS or word.endswith("n't") for word in words)
