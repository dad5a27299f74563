"""Inference: what a backend is, where its weights live, and the thread that runs it in batches."""
