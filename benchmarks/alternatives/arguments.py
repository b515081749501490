"""The command line that the alternatives share: each runs in a process of its own."""

import argparse


def parsed(description: str | None) -> argparse.Namespace:
    """Where the servers are, what to read, and where to write."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kafka", required=True, help="HOST:PORT")
    parser.add_argument("--elasticsearch", required=True, help="URL")
    parser.add_argument("--group", required=True, help="consumer group, one without offsets")
    parser.add_argument("--index", required=True, help="index to write to")
    parser.add_argument("--folder", required=True, help="folder for what has to be kept on disk")
    parser.add_argument("--texts", type=int, required=True, help="how many records to process")
    parser.add_argument("topics", nargs="+", help="topics to read")
    return parser.parse_args()
