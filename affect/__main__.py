"""`python -m affect`: the same as the command `affect`."""

from affect.cli.main import main

if __name__ == "__main__":
    main()
