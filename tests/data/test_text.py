"""Words of a document, and the settings that decide them."""

import pytest

from xmtc.data.text import HuggingFace, Text, Words
from xmtc.errors import InputError


@pytest.mark.parametrize(
    "text, words",
    [
        ("The Court, having regard", ["the", "court", "having", "regard"]),
        ("Council's No 2081/92 of 14.7.1992", ["council's", "no", "2081/92", "of", "14.7.1992"]),
        ("Title /SEP/ Body", ["title", "/SEP/", "body"]),
        ("über-große ÉTÉ", ["über-große", "été"]),
        ("snake_case ... -- ()", ["snake", "case"]),
        ("हिन्दी भाषा, தமிழ் மொழி", ["हिन्दी", "भाषा", "தமிழ்", "மொழி"]),  # vowel signs are marks, no letters
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("العربيّة می\u200cخواهم", ["العربيّة", "می\u200cخواهم"]),
        ("Wa\u0308hrung W\u00e4hrung", ["w\u00e4hrung"] * 2),
        ("\u2764\ufe0f \u0301 a", ["a"]),  # marks on no letter
        ("", []),
        (" \t ", []),
    ],
)
def test_fast_words(text, words):
    assert Words().tokenise(text) == words


def test_words_of_the_papers_are_nltk_tokens_with_a_word_character():
    found = Words("papers").tokenise("Don't stop: the Court's 3.5% of it (now). Title /SEP/ Body ... --")
    assert found == ["do", "n't", "stop", "the", "court", "'s", "3.5", "of", "it", "now", "title", "/SEP/", "body"]
    assert Words("papers").tokenise("") == []


def test_keys_tell_what_decides_the_tokens_and_nothing_else():
    assert Words(length=3).key() == Words(length=None).key()
    keys = [Words().key(), Words("papers").key(), Words(vocabulary_size=9).key()]
    assert all(keys.count(key) == 1 for key in keys)
    assert "prefer" not in Words().key()


def test_the_file_of_preferred_words_is_part_of_the_key(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("a 1 2\n")
    two.write_text("b 1 2\n")
    assert Words(prefer=str(one)).key() != Words(prefer=str(two)).key() != Words().key()
    with pytest.raises(InputError, match="none.txt: no such file .*embedding.path, .*embedding=random"):
        Words(prefer=str(tmp_path / "none.txt")).key()


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: Text(length=None, fixed=True), "text.fixed"),
        (lambda: HuggingFace("/no/such/folder").key(), "text.name"),
    ],
)
def test_settings_that_cannot_be_used(make, line):
    with pytest.raises(InputError, match=line):
        make()
