"""Bundled recipes: the published FER2013 systems besides Nguyen's, one module a source, for `affect-train`."""
