"""Reports of a run or a backend: plots, one HTML page, model cards."""
