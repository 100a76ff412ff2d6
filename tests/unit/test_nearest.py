from tacit.nearest import match, nearest


def test_the_nearest_word_is_named_or_all_of_them():
    assert match("domian", ["domain", "model"]) == "domain"
    assert match("zzz", ["domain", "model"]) is None
    assert nearest("hart", ["heart_disease", "hospitals"]) == "did you mean 'heart_disease'?"
    assert nearest("zzz", ["b", "a"]) == "there are a, b"
