"""The learner model: evidence over time -> a distribution over learner states -> events. No torch in here."""
