"""The learner model on real learners: labels, fitting for one backend, evaluation with intervals over people."""
