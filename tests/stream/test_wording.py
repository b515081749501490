from stream.wording import counted


def test_nouns_agree_with_their_numbers() -> None:
    assert counted(1, "process") == "1 process"
    assert counted(1200, "process") == "1,200 processes"
    assert counted(0, "record") == "0 records"
    assert [counted(n, "index") for n in (1, 2)] == ["1 index", "2 indices"]
