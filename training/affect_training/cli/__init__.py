"""The command `affect-train`: one module a command, loaded when it is called."""
