"""Estimator `fitted`: the filter of `hmm`, with evidence from heads fitted on labelled faces."""

import numpy as np

from affect.labels import STATES
from affect.learner.baseline import PastMean
from affect.learner.estimator import Floats, HmmEstimator
from affect.learner.evidence import FaceEvidence
from affect.learner.heads import BackendFit, StateHeads
from affect.settings.learner import FittedSettings


class FittedEstimator(HmmEstimator):
    """Forward filter whose evidence is log P(face | state) / P(face), state by state.

    States with a head: what the head says, at most `max_ratio` either way, tempered by `tau_heads_s`. States without
    one (delight, surprise): what the emission matrix says, relative to what it says of the states with heads, tempered
    by `tau_c_s`. A face that the heads cannot read, or a backend without heads, gives the evidence of `hmm`.
    """

    def __init__(self, settings: FittedSettings) -> None:
        super().__init__(settings)
        self.settings: FittedSettings = settings
        self.heads: StateHeads | None = None
        self._past = PastMean(weight=settings.person_weight, prior=settings.person_prior)

    def adopt(self, fit: BackendFit) -> None:
        """Take the emission matrix and the heads."""
        super().adopt(fit)
        self.heads = fit.heads

    def _log_likelihood(self, face: FaceEvidence, since_s: float) -> Floats:
        heads = self.heads
        if heads is None or not heads.can_read(face):
            return super()._log_likelihood(face, since_s)
        kappa = min(1.0, since_s / self.settings.tau_heads_s)
        scores = heads.scores_of(face)
        usual = self._past.usual
        self._past.add(scores, kappa)
        limit = np.log(self.settings.max_ratio)
        known = heads.indices
        emitted = self._emitted(face)
        prior = self._tables.prior[known]
        reference = prior @ emitted[known] / prior.sum()
        evidence = np.empty(len(STATES))
        evidence[:] = min(1.0, since_s / self.settings.tau_c_s) * np.log(emitted / reference)
        evidence[known] = kappa * np.clip(heads.log_ratios(scores - usual), -limit, limit)
        return evidence
