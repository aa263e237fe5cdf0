"""Phonetic spellings of any language as the nearest sounds the English acoustic model knows.

For timing and lips the nearest place and manner is enough: what matters is that a "p" stays a "p", and that rounded
vowels stay rounded.
"""

from __future__ import annotations

import re
import unicodedata

_VOWELS = {
    "AA": "a ɑ ɐ ɶ", "AE": "æ", "AH": "ʌ ə ɘ ɨ ɤ", "AO": "ɔ ɒ", "EH": "ɛ e œ ɞ", "ER": "ɜ ɝ ɚ", "IH": "ɪ",
    "IY": "i", "UH": "ʊ ʏ ɵ", "UW": "u y ʉ ɯ", "OW": "o ø", "EY": "eɪ ei eː", "AY": "aɪ ai ɑɪ ɑi", "OY": "ɔɪ ɔi oi",
    "AW": "aʊ au ɑʊ ɑu", "OW ": "oʊ ou əʊ oː", "AH N": "ə̃", "AA N": "ɑ̃ ã", "AO N": "ɔ̃ õ", "AE N": "ɛ̃ œ̃ ẽ",
    "IY N": "ĩ", "UW N": "ũ",
}  # fmt: skip
_CONSONANTS = {
    "P": "p pʰ ph", "B": "b ɓ", "M": "m ɱ", "F": "f ɸ", "V": "v ʋ β ⱱ", "W": "w ʍ", "T": "t ʈ th", "D": "d ɖ ɗ ɾ ɽ",
    "N": "n ɳ ɲ ɴ", "L": "l ɭ ʎ ɫ ʟ ɬ ɮ", "S": "s", "Z": "z", "TH": "θ", "DH": "ð", "SH": "ʃ ʂ ɕ ç s.",
    "ZH": "ʒ ʐ ʑ z.",
    "CH": "tʃ tɕ tʂ ts. tɕh ts.h", "JH": "dʒ dʑ dʐ", "T S": "ts tsh", "D Z": "dz", "P F": "pf", "K": "k q kh c",
    "G": "g ɡ ɟ ɢ", "NG": "ŋ", "HH": "h x χ ħ ɦ ɣ ʁ", "R": "r ɹ ɻ ʀ", "Y": "j ɥ ʝ",
}  # fmt: skip
_TABLE = {
    unicodedata.normalize("NFD", spelling): tuple(sounds.split())
    for sounds, spellings in (*_VOWELS.items(), *_CONSONANTS.items())
    for spelling in spellings.split()
}
_LONGEST = max(map(len, _TABLE))
_RHOTIC = "\u02de"


def arpabet(spelling: str) -> tuple[str, ...]:
    """ARPAbet sounds of one word in the International Phonetic Alphabet; marks it does not know are passed over."""
    rest = unicodedata.normalize("NFD", spelling).replace("r-", "r").replace(_RHOTIC, "ɹ")
    rest = re.sub(r"[\u02c8\u02cc\u0361\u035c]", "", rest)
    sounds: list[str] = []
    while rest:
        length = next((n for n in range(min(_LONGEST, len(rest)), 0, -1) if rest[:n] in _TABLE), 0)
        sounds += _TABLE.get(rest[:length], ())
        rest = rest[max(length, 1) :]
    return tuple(sounds)
