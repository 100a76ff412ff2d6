"""Texts as bytes and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.domains.texts import bytes_to_texts, texts_to_bytes

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(TEXTS, max_size=4))
def test_texts_come_back(texts):
    rows = texts_to_bytes(texts, 80)
    assert rows.dtype is torch.uint8
    assert rows.shape == (len(texts), 80)
    assert bytes_to_texts(rows) == texts


@given(TEXTS, st.integers(1, 8))
def test_what_is_cut_is_a_beginning(text, length):
    (found,) = bytes_to_texts(texts_to_bytes([text], length))
    assert text.startswith(found)
    assert len(found.encode()) > min(length, len(text.encode())) - 4


def test_any_numbers_are_some_text():
    assert len(bytes_to_texts(torch.full((2, 5), 255.0))) == 2
