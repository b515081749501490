"""`python -m stream` is `bellwether`."""

from stream.cli import main

if __name__ == "__main__":
    main()
