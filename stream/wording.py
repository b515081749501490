"""How numbers are told in sentences."""

_IRREGULAR = {"index": "indices"}


def counted(number: int, noun: str) -> str:
    """1 broker, 2 brokers, 1,000 processes, 3 indices"""
    plural = _IRREGULAR.get(noun) or noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"
