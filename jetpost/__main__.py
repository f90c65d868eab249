"""`python -m jetpost`: the command line."""

from jetpost.cli.main import main

if __name__ == "__main__":
    main()
