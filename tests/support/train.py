"""affect-train with the tiny recipes installed, as a process of its own; Lightning starts the other ranks alike."""

import pytest
from affect_training.cli.main import main

from support.tiny import install_tiny

if __name__ == "__main__":
    install_tiny(pytest.MonkeyPatch())
    main()
