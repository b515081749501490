"""Which texts are in a language that the model was not trained on.

The languages that a model knows stand in its bundle. That a text is in another one is told by

1. its record's own `language`, when that is the code of another one;
2. its letters, when most are of a script that none of the model's languages is written in, or when
   half of its tokens are in no vocabulary and its letters are not only Latin ones. This counts more
   than a record that says that it is in one of the model's languages;
3. py3langid (naive Bayes on byte n-grams; Lui and Baldwin, 2011), unless the record says so.

Headlines and posts are short and full of names. So links, mentions, cashtags and numbers are taken
out first; fewer than 12 letters are not judged; two very common English words are English enough;
and the words without a capital must look foreign by themselves too: "OMV Aktiengesellschaft reports
results" is English. What is compared with the threshold is the sum over all other languages: it is
open whether "Polícia investiga fraude" is Portuguese or Spanish, but not that it is not English.

The threshold comes from 4,000 texts each of sentfin, twitter_fin_sentiment and stocknet. At 0.97,
at most 1 in 1,000 is flagged wrongly; at 0.9 it is 1 in 1,000 headlines, 4 posts of the second and
20 of the third set, most of them a company's name with little beside. Of the sentences with Latin
letters in checks/languages.jsonl 99 % are found at 0.97 and all at 0.95.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from models.reading import seen
from models.tokenizer import Tokens


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


UNDETERMINED = "und"

MIN_FOREIGN_PROBABILITY = 0.97
MIN_UNCAPITALISED_PROBABILITY = 0.9
MIN_LATIN_LETTERS = 12
MIN_CAPITALISED_LETTERS = 24  # where no word is without a capital
# Letters of other scripts tell more, but a lone alpha or beta is no Greek.
MIN_LETTERS = 4
MIN_SCRIPT_SHARE = 0.5
MIN_UNKNOWN_SHARE = 0.5
MIN_OTHER_SCRIPT_SHARE = 0.25
SPECIAL_TOKENS = 2
# So much of a text tells its language; the rest would only cost time.
READ_CHARACTERS = 400

# Those that texts are likely to be in, and `zxx`, no language: with fewer to choose from, names and
# tickers are mistaken less often. Of near relatives one stands for all.
_LIKELY = _set(
    "am ar be bg bn ca cs da de el en es et fa fi fr gu he hi hr hu hy id it ja ka kk km kn ko lo "
    "lt lv mk ml mr my ne nl no pa pl pt ro ru si sk sl sq sv sw ta te th tl tr uk ur vi zh "
    "zxx"
)
_NO_LANGUAGE = "zxx"

# Words that are in nearly every English text, and in hardly any other.
_COMMON_WORDS: Mapping[str, frozenset[str]] = {
    "en": _set(
        "about after and are because been before but could does for from have his how i into it "
        "its more my of our should than that the their these they this to up what when where which "
        "who why with would you your"
    )
}
MIN_COMMON_WORDS = 2
MIN_COMMON_SHARE = 1 / 8

# Letters by language, as ranges of a regular expression; other languages are written in Latin ones.
_LATIN = r"\u0000-\u024f\u1e00-\u1eff"
_HAN = r"\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_CYRILLIC = r"\u0400-\u052f"
_ARABIC = r"\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff"
_DEVANAGARI = r"\u0900-\u097f"
_LETTERS: Mapping[str, str] = {
    "zh": _HAN, "yue": _HAN, "ja": _HAN + _KANA, "ko": _HAN + _HANGUL,
    **dict.fromkeys(("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk"), _CYRILLIC),
    **dict.fromkeys(("ar", "fa", "ps", "sd", "ug", "ur"), _ARABIC),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), _DEVANAGARI),
    "el": r"\u0370-\u03ff\u1f00-\u1fff", "hy": r"\u0530-\u058f", "he": r"\u0590-\u05ff",
    "bn": r"\u0980-\u09ff", "pa": r"\u0a00-\u0a7f", "gu": r"\u0a80-\u0aff",
    "or": r"\u0b00-\u0b7f", "ta": r"\u0b80-\u0bff", "te": r"\u0c00-\u0c7f",
    "kn": r"\u0c80-\u0cff", "ml": r"\u0d00-\u0d7f", "si": r"\u0d80-\u0dff",
    "th": r"\u0e00-\u0e7f", "lo": r"\u0e80-\u0eff", "my": r"\u1000-\u109f",
    "ka": r"\u10a0-\u10ff", "am": r"\u1200-\u137f", "km": r"\u1780-\u17ff",
}  # fmt: skip

_NOISE = re.compile(
    r"(?:https?:|www\.|pic\.twitter\.com)\S*|[@$][a-z0-9_.]+|&\w{2,6};|[\d_]+", re.IGNORECASE
)
_NOT_LATIN = re.compile(rf"[^\W\d_{_LATIN}]")
# A word has two or three of these, where it has five or six letters of an alphabet.
_DENSE = re.compile(rf"[{_HAN}{_KANA}{_HANGUL}]")
_DENSE_WEIGHT = 3

# ISO 639-1
_CODES = _set(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


class LanguageWatch:
    """Tells texts that are in none of `languages` (ISO 639 codes). Thread-safe.

    A text costs 50 to 90 µs, a foreign one up to 140. The first doubtful one of a process loads
    py3langid's table: half a second, 60 MiB.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._own = frozenset(languages)
        self._ours = self._own | {_NO_LANGUAGE}
        self._common = frozenset().union(*(_COMMON_WORDS.get(name, ()) for name in languages))
        letters = "".join(_LETTERS.get(name, "") for name in languages)
        self._strange = re.compile(rf"[^\W\d_{_LATIN}{letters}]")

    def foreign(self, text: str, tokens: Tokens, stated: str | None = None) -> str | None:
        """The code of the language if it is not one of the model's own, else None.

        `und` where the text is certainly in none of them and nobody knows in which. `tokens` are
        the text's, and `stated` is what its record says of it, such as en or pt-BR; what is no code
        of ISO 639-1 counts as not said.
        """
        said = self._code(stated)
        if said and said not in self._own:
            return said
        words = _NOISE.sub(" ", seen(text)[:READ_CHARACTERS])
        if not words.isascii() and self._is_illegible(words, tokens):
            return self._named(words)
        if said or self._has_common_words(words):
            return None
        return self._identified(words)

    def _code(self, stated: str | None) -> str | None:
        code = (stated or "").replace("_", "-").partition("-")[0].lower()
        return code if code in _CODES or code in self._own else None

    def _is_illegible(self, words: str, tokens: Tokens) -> bool:
        letters = _weight(_letters(words))
        if letters < MIN_LETTERS:
            return False
        if _weight("".join(self._strange.findall(words))) >= MIN_SCRIPT_SHARE * letters:
            return True
        unknown = tokens.unknown >= MIN_UNKNOWN_SHARE * (len(tokens.ids) - SPECIAL_TOKENS)
        others = _weight("".join(_NOT_LATIN.findall(words)))
        return unknown and others >= MIN_OTHER_SCRIPT_SHARE * letters

    def _has_common_words(self, words: str) -> bool:
        found = words.lower().split()
        common = len(self._common.intersection(found))
        return common >= max(MIN_COMMON_WORDS, MIN_COMMON_SHARE * len(found))

    def _identified(self, words: str) -> str | None:
        letters = _weight(_letters(words))
        if letters < MIN_LATIN_LETTERS:
            return None
        identifier = self._identifier()
        likeliest: str = identifier.classify(words)[0]
        if likeliest in self._ours or not self._own.issubset(identifier.nb_classes):
            return None
        foreign = self._foreign_probability(words) >= MIN_FOREIGN_PROBABILITY
        return likeliest if foreign and not self._is_of_names(words, letters) else None

    def _is_of_names(self, words: str, letters: int) -> bool:
        """Whether it may be the names alone that look foreign."""
        rest = " ".join(word for word in words.split() if word[0].islower())
        if len(_letters(rest)) < MIN_LETTERS:
            return letters < MIN_CAPITALISED_LETTERS
        return self._foreign_probability(rest) < MIN_UNCAPITALISED_PROBABILITY

    def _foreign_probability(self, words: str) -> float:
        ranked: list[tuple[str, float]] = self._identifier().rank(words)
        return 1 - sum(probability for name, probability in ranked if name in self._ours)

    def _named(self, words: str) -> str:
        """The likeliest language, if it is none of the model's own and has letters in the text."""
        likeliest: str = self._identifier().classify(words)[0]
        letters = "" if likeliest in self._own else _LETTERS.get(likeliest)
        return likeliest if letters and re.search(f"[{letters}]", words) else UNDETERMINED

    def _identifier(self) -> Any:
        return _identifier(_LIKELY | self._own)


def _letters(words: str) -> str:
    return "".join(filter(str.isalpha, words))


def _weight(letters: str) -> int:
    return len(letters) + (_DENSE_WEIGHT - 1) * len(_DENSE.findall(letters))


@cache
def _identifier(languages: frozenset[str]) -> Any:
    """py3langid, as far as it knows these languages."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    known = LanguageIdentifier.from_model_file(MODEL_FILE)
    columns = [column for column, name in enumerate(known.nb_classes) if name in languages]
    # Its own way of leaving languages out keeps the whole table beside: 20 MiB.
    return LanguageIdentifier(
        known.nb_ptc[:, columns],
        known.nb_pc[columns],
        [known.nb_classes[column] for column in columns],
        known.tk_nextmove,
        known.tk_output,
        norm_probs=True,
        tk_row=known.tk_row,
    )
