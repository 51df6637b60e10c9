"""What may be said in a home, and what it means."""

import re

import pytest
from msgspec.structs import replace

from fusion_rt.errors import ConfigError
from fusion_rt.plan import Device, Plan, Room
from fusion_rt.sound.grammar import Grammar
from fusion_rt.sound.language import Language, Phrases
from fusion_rt.sound.recogniser import Recogniser

SENTENCES = {
    "turn on the lights": ("turn_on", {"kind": "light"}),
    "please turn off the living room lamp": (
        "turn_off",
        {"kind": "light", "device": "living_lamp", "room": "living"},
    ),
    "switch the television on": ("turn_on", {"kind": "media", "device": "living_tv", "room": "living"}),
    "turn off all the lights": ("turn_off", {"kind": "light", "all": "all"}),
    "dim the bedroom lamp to forty five percent": (
        "set",
        {"kind": "light", "device": "bedroom_lamp", "room": "bedroom", "brightness": "45"},
    ),
    "is anybody in the kitchen": ("ask", {"question": "occupied", "room": "kitchen"}),
    "how many people are at home": ("ask", {"question": "people"}),
    "what is the temperature in the living room": ("ask", {"question": "temperature", "room": "living"}),
    "is the bathroom fan on": (
        "ask",
        {"question": "state", "kind": "fan", "device": "bathroom_fan", "room": "bathroom", "on_off": "on"},
    ),
    "never mind": ("cancel", {}),
}


@pytest.fixture(scope="module")
def english(flat):
    return Grammar(flat, Language.load("en"))


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_mean_what_they_say(english, sentence):
    understood = english.understand(sentence)
    assert understood is not None
    assert (understood.intent, understood.slots) == SENTENCES[sentence]


@pytest.mark.parametrize("sentence", ["turn on the moon", "dim the television to ten percent", "", "turn on"])
def test_others_mean_nothing(english, sentence):
    assert english.understand(sentence) is None


def test_german_is_understood_as_text(flat):
    german = Grammar(flat, Language.load("de"))
    understood = german.understand("dimme das licht auf fünfundzwanzig prozent")
    assert understood is not None
    assert understood.slots == {"kind": "light", "brightness": "25"}
    with pytest.raises(ConfigError, match="language de: no acoustic model"):
        Recogniser(Language.load("de"))


def test_pocketsphinx_takes_the_grammar_and_knows_its_words(english):
    recogniser = Recogniser(english.language)
    assert english.vocabulary <= recogniser.words
    recogniser.use(english.jsgf, english.vocabulary)
    with pytest.raises(ConfigError, match="refuses the grammar"):
        recogniser.use("#JSGF V1.0;\ngrammar broken;\npublic <a> = (;\n", ())


def test_only_what_is_there_can_be_said(english):
    target = re.search(r"<target_0> = (.*);", english.jsgf).group(1)
    assert "(bathroom) (fan)" in target
    assert "bathroom) (fan | lamp" not in target


def test_hostile_names_cannot_write_rules(flat):
    devices = {"evil": Device(kind="light", room="kitchen", name="x; public <command> = hack | [lamp] \n#")}
    grammar = Grammar(replace(flat, devices=devices), Language.load("en"))
    assert "x public command hack lamp" in grammar.jsgf
    assert "hack |" not in grammar.jsgf
    assert len(re.findall(r"^public <", grammar.jsgf, re.M)) == 1


def test_names_that_cannot_be_said_are_told(office):
    rooms = {**office.rooms, "wc": Room(name="Zkrgl", polygon=((5, 0), (7, 0), (7, 4), (5, 4)))}
    grammar = Grammar(replace(office, rooms=rooms), Language.load("en"), {"office", "lights", "light", "fan"})
    assert any("rooms.wc: Zkrgl, wc: the dictionary lacks 'wc'" in line for line in grammar.unspoken)


def test_numbers_in_names_are_words(office):
    devices = {"two": Device(kind="light", room="office", name="Lamp 2")}
    grammar = Grammar(replace(office, devices=devices), Language.load("en"))
    assert grammar.understand("turn on lamp two").slots["device"] == "two"


def test_a_wrong_language_file_is_refused(office, tmp_path):
    english = Language.load("en")
    wrong = replace(english, phrases=(Phrases(intent="a", say=("go <nowhere>",)),))
    with pytest.raises(ConfigError, match="no rule <nowhere>"):
        Grammar(office, wrong)
    path = tmp_path / "xx.yaml"
    path.write_text("languag: xx\n")
    with pytest.raises(ConfigError, match="did you mean 'language'"):
        Language.load(path)
    with pytest.raises(ConfigError, match="bundled are de, en"):
        Language.load("fr")


def test_a_home_without_devices_can_still_be_asked(office):
    bare = Plan(rooms=office.rooms)
    assert Grammar(bare, Language.load("en")).understand("who is in the office").slots["room"] == "office"
