"""affect-train: data, recipes runner and evaluation."""
