"""The recipes, one module a source: which network, and what it is trained with. No torch here."""
