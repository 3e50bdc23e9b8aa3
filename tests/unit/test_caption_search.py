"""Words of captions and queries in every script: what a word is, what a query asks for, and which captions it finds."""

import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel
from touchstone_generator.prompts.naming import names_class
from touchstone_retrieval.audit.captions import class_names, classes_named
from touchstone_retrieval.class_names import count_captions
from touchstone_retrieval.strategies.caption_queries import caption_queries
from touchstone_retrieval.strategies.caption_search import (
    CAPTIONS_AT_A_TIME,
    CaptionSearch,
    WordMode,
    matching_rows,
    searches_for,
)
from touchstone_runtime.plurals import plurals_of
from touchstone_runtime.words import words_of


def found(query: str, *captions: str, mode: WordMode = "phrase", plurals: bool = False) -> list[int]:
    (rows,) = matching_rows(in_shards(captions), [search_for(query, mode, plurals)], len(captions))
    return [int(row) for row in rows]


def search_for(query: str, mode: WordMode, plurals: bool = False) -> CaptionSearch:
    return searches_for([query], mode, plurals)[0]


def in_shards(captions: tuple[str, ...] | list[str]) -> pa.ChunkedArray:
    middle = len(captions) // 2
    return pa.chunked_array([captions[:middle], captions[middle:]], pa.string())


@pytest.mark.parametrize(
    ("query", "caption", "matches"),
    [
        # Scripts without blanks: a name is found within a run of letters, whole letters only.
        ("猫", "一只小猫在沙发上", True),
        ("小猫", "一只小猫在沙发上", True),
        ("猫小", "一只小猫在沙发上", False),
        ("ねこ", "かわいいねこです", True),
        ("ギター", "エレキギターを弾く", True),
        ("ギタ", "エレキギターを弾く", False),  # the long vowel belongs to the letter before it
        ("ｷﾞﾀｰ", "エレキギターを弾く", True),
        ("แมว", "ภาพแมวสีดำน่ารัก", True),
        ("หมา", "ภาพแมวสีดำน่ารัก", False),
        ("น", "น้ำ", False),  # a letter without its marks is another letter
        ("ឆ្មា", "រូបឆ្មាពណ៌ខ្មៅ", True),
        ("ក", "ក្រ", False),
        ("ແມວ", "ຮູບແມວດຳ", True),
        ("ကြောင်", "အနက်ရောင်ကြောင်လေး", True),
        ("๒", "๑๒", False),
        # Latin words beside them keep their borders, and letters of the others are one.
        ("iPhone", "新iPhone手机", True),
        ("phone", "新iPhone手机", False),
        ("T恤", "黑色T恤", True),
        # Scripts with blanks: whole words.
        ("고양이", "검은 고양이 사진", True),
        ("बिल्ली", "काली बिल्ली", True),
        ("बिल्", "काली बिल्ली", False),
        ("кошка", "Чёрная КОШКА спит", True),
        # Forms of letters.
        ("café", unicodedata.normalize("NFD", "un CAFÉ noir"), True),
        (unicodedata.normalize("NFD", "café"), "un café noir", True),
        ("cafe", "un café noir", False),
        ("straße", "STRASSE bei Nacht", True),
        ("STRAẞE", "strasse bei Nacht", True),
        ("ὀδυσσεύς", "ΟΔΥΣΣΕΎΣ", False),  # capitals of another breathing are other letters
        ("οδός", "ΟΔΌΣ", True),
        ("Tiger", "ｔｉｇｅｒ ｉｎ ｂｌｏｏｍ", True),
        ("office", "an oﬃce", True),
        ("İstanbul", "İSTANBUL at night", True),
        ("istanbul", "İSTANBUL at night", False),  # the dot above is a mark of its own
        ("CO2", "CO₂ bottle", True),
        # Apostrophes and possessives.
        ("dog", "the dog's bowl", True),
        ("dog", "the DOG’S bowl", True),
        ("dog", "the dog`s bowl", True),
        ("colt's foot", "a colt’s foot", True),
        ("dogs", "the dogs’ bowls", True),
        ("potters wheel", "a potter's wheel", False),
        ("orange", "jus d’orange", True),
        ("hawai'i", "the Hawaiʻi coast", True),
        # Hyphens, blanks, and what cannot be seen.
        ("t-shirt", "a T‑shirt", True),
        ("tiger lily", "tiger—lily", True),
        ("tiger lily", "tiger\u00a0 \n\u3000lily", True),
        ("tiger\tlily", "tiger\r\nlily", True),
        ("tigerlily", "tiger\u00adlily", True),
        ("ti\u200bger", "tiger", True),
        ("می‌خواهم", "می\u200cخواهم", True),
        ("heart", "a heart\ufe0f", True),
        ("cat", "🐱cat", True),
        ("lego", "Lego™ bricks", True),
        # Whole words only.
        ("tiger", "a tigress and tigers", False),
        ("case", "snake_case", True),
        ("A320", "the A320-200", True),
        ("A32", "the A320-200", False),
    ],
)
def test_a_query_finds_captions_as_people_write_it(query: str, caption: str, matches: bool) -> None:
    assert found(query, "another one", caption) == ([1] if matches else [])
    # Every other part that compares words sees the same.
    label = ClassLabel(id=7, display_name=query)
    assert names_class(caption, label) is matches
    assert classes_named(words_of(caption), class_names([label])) == ({7} if matches else set())
    assert count_captions([query], pa.chunked_array([[caption]]))[words_of(query)] == matches


@pytest.mark.parametrize(
    ("mode", "query", "rows"),
    [
        ("all_tokens", "猫 沙发", [0]),
        ("all_tokens", "猫沙", []),  # a run is looked for as it stands
        ("all_tokens", "lily tiger", [1, 2]),
        ("words_or_phrase", "lily tiger", [1, 2]),
        ("words_or_phrase", "tiger‑lily", [1]),  # any hyphen makes a phrase
        ("words_or_phrase", "tiger／lily", [1]),
        ("joined_words", "pond tiger lily", [2]),
        ("joined_words", "bloom tiger–lily", [1]),
        ("joined_words", "? !", []),
        ("phrase", "", []),
        ("all_tokens", "\u200b", []),
    ],
)
def test_modes_join_words_as_they_say(mode: WordMode, query: str, rows: list[int]) -> None:
    captions = ("小猫在沙发上", "a Tiger-Lily in bloom", "the tiger beside a lily pond", "")
    assert found(query, *captions, mode=mode) == rows


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("tiger", "tigers"), ("lily", "lilies"), ("boy", "boys"), ("fox", "foxes"), ("church", "churches"),
        ("bus", "buses"), ("wolf", "wolves"), ("knife", "knives"), ("roof", "roofs"), ("potato", "potatoes"),
        ("photo", "photos"), ("mouse", "mice"), ("child", "children"), ("fireman", "firemen"), ("human", "humans"),
    ],
)  # fmt: skip
def test_plurals_are_those_of_english(noun: str, plural: str) -> None:
    assert plural in plurals_of(noun)


def test_plurals_are_an_option_of_the_last_word() -> None:
    captions = ("a tiger lily", "two Tiger Lilies", "tigers and lilies", "二 tigers")
    assert found("tiger lily", *captions) == [0]
    assert found("tiger lily", *captions, plurals=True) == [0, 1]
    assert found("lily tiger", *captions, mode="all_tokens", plurals=True) == [0]
    assert found("and tiger", *captions, mode="all_tokens", plurals=True) == [2]
    assert str(search_for("tiger lily", "phrase", True)) == '"tiger lily" or "tiger lilies" or "tiger lilys"'
    assert search_for("A320", "phrase", True) == search_for("A320", "phrase")
    assert TextMatch().plurals is False


def test_names_keep_their_signs_in_patterns_and_need_no_border_where_there_are_no_blanks() -> None:
    labels = [ClassLabel(id=number, display_name=name) for number, name in enumerate(("C++", "小猫", "a  b"))]
    cpp, cat, blanks = (queries[0].search for queries in caption_queries(TextMatch(mode="regex"), labels))
    assert cpp == r"(?:^|[^\pL\pN])C\+\+(?:$|[^\pL\pN])"
    assert cat == "小猫"
    assert blanks == r"(?:^|[^\pL\pN])a\s+b(?:$|[^\pL\pN])"
    decomposed = TextMatch(mode="regex", queries={"0": (unicodedata.normalize("NFD", "caf[é]+"),)})
    assert caption_queries(decomposed, labels)[0][0].search == "caf[é]+"


def test_what_was_searched_is_told() -> None:
    (queries,) = caption_queries(TextMatch(), [ClassLabel(id=0, display_name="Dog’s  STRAẞE", aliases=("大熊猫",))])
    assert [str(query.search) for query in queries] == ['"dog strasse"', '"大 熊 猫"']
    assert str(search_for("Tiger lily-pond", "joined_words")) == '"tiger" and "lily pond"'
    assert str(CaptionSearch(())) == ""


def test_rows_are_those_of_a_plain_search_whatever_the_batches() -> None:
    rng = np.random.default_rng(0)
    vocabulary = ["red", "tiger", "lily", "of", "猫", "the", "sky"]
    few = [" ".join(rng.choice(vocabulary, size=5)) for _ in range(1000)]
    captions = few + [""] * (CAPTIONS_AT_A_TIME - 500) + few
    for query in ("tiger lily", "the", "red of the"):
        expected = [row for row, caption in enumerate(captions) if f" {query} " in f" {caption} "]
        assert len(expected) > 2
        assert found(query, *captions) == expected
        (first,) = matching_rows(in_shards(captions), [search_for(query, "phrase")], 3)
        assert first.tolist() == expected[:3]


def test_hostile_names_and_captions_cost_time_in_proportion_to_their_length() -> None:
    queries = [
        search_for("a " * 499 + "b", "phrase"),
        search_for("a " * 499, "phrase"),
        search_for("'" * 1000, "phrase"),
    ]

    def seconds(count: int) -> float:
        began = time.process_time()
        rows = matching_rows(pa.chunked_array([["a " * 900 + "b"] * count]), queries, count)
        assert [len(each) for each in rows] == [count, count, 0]
        return time.process_time() - began

    seconds(10)
    assert seconds(4000) < 40 * max(seconds(400), 0.02)
