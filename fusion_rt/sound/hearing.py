"""Wake word, endpoint, intent: what somebody asks for, from frames alone; no clock is read, nothing is kept.

wake word -> (somebody speaks -> silence) -> one sentence of the grammar, or nothing. Speech goes into the
recogniser as it comes, so that little is left to do at its end."""

from __future__ import annotations

from collections import deque
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt.plan import Plan
from fusion_rt.sound.endpoint import EndpointConfig, Endpointer
from fusion_rt.sound.framing import FRAME_NS, Frame
from fusion_rt.sound.grammar import Grammar
from fusion_rt.sound.language import Language
from fusion_rt.sound.recogniser import Heard, Recogniser
from fusion_rt.sound.voice_activity import VoiceActivity
from fusion_rt.sound.wake_word import WakeWords

BEFORE_FRAMES = 15  # 0.3 s before speech was noticed belongs to it


class VoiceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is listened for.

    wake        words that begin a command (okay_nabu, hey_jarvis, hey_mycroft, alexa); none: every utterance
                is taken for a command
    language    a bundled one (en), or a file
    least_p     commands that are less probable are not told
    patience_s  after the wake word, how long for a command to begin
    """

    wake: tuple[str, ...] = ("okay_nabu",)
    language: str = "en"
    least_p: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    patience_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    endpoint: EndpointConfig = EndpointConfig()


class Wish(Struct, frozen=True, kw_only=True):
    """Something that was asked for; of its words nothing is kept but what the grammar knows.

    intent      "wake", or one of the language's
    stamp_ns    when it had been said: the end of the newest frame that was needed
    begin_ns    when it began
    text        the sentence of the grammar
    """

    intent: str
    slots: dict[str, str]
    p: float
    stamp_ns: int
    begin_ns: int
    text: str = ""


class Hearing:
    """One microphone's. Raises ConfigError where something of the configuration or of the extra is missing.

    speech    probability that somebody speaks, of the newest 32 ms
    counts    utterances, commands, unlikely (heard, but not believed), wake words
    unspoken  what of the plan nobody can say, and why"""

    def __init__(self, config: VoiceConfig, plan: Plan) -> None:
        language = Language.load(config.language)
        self._recogniser = Recogniser(language)
        self.grammar = Grammar(plan, language, self._recogniser.words)
        self._recogniser.use(self.grammar.jsgf, self.grammar.vocabulary)
        self.unspoken = self.grammar.unspoken
        self._config = config
        self._activity = VoiceActivity()
        self._wake = WakeWords(config.wake) if config.wake else None
        self._endpoint = Endpointer(config.endpoint)
        self._before: deque[Frame] = deque(maxlen=BEFORE_FRAMES)
        self._until_ns: int | None = None  # a command may begin until then
        self._begin_ns: int | None = None  # of the utterance that the recogniser hears
        self.speech = 0.0
        self.counts = dict.fromkeys(("utterances", "commands", "unlikely", "wakes"), 0)

    def listen(self, now_ns: int) -> None:
        """As if the wake word had been said."""
        self._until_ns = now_ns + round(self._config.patience_s * 1e9)
        self._endpoint.reset()
        self._before.clear()

    def push(self, frame: Frame) -> list[Wish]:
        """What the frame completes."""
        wishes = []
        now_ns = frame.stamp_ns + FRAME_NS
        if self._wake is not None and (woken := self._wake.push(frame.pcm)) is not None:
            word, p = woken
            self.counts["wakes"] += 1
            wishes.append(Wish(intent="wake", slots={"word": word}, p=p, stamp_ns=now_ns, begin_ns=now_ns))
            self.listen(now_ns)
        steps = [(p, self._endpoint.push(p)) for p in self._activity.push(frame.pcm)]
        asked = self._wake is None or self._until_ns is not None
        if any(step == "begin" for _, step in steps) and asked and now_ns <= (self._until_ns or now_ns):
            self._begin(frame)
        elif self._hearing:
            self._recogniser.push(frame.pcm)
        self._before.append(frame)
        for self.speech, step in steps:
            if step == "end" and self._hearing:
                wish = self._end(now_ns)
                wishes += [wish] if wish else []
        if self._until_ns is not None and now_ns > self._until_ns and not self._hearing:
            self._until_ns = None
        return wishes

    @property
    def _hearing(self) -> bool:
        return self._begin_ns is not None

    def _begin(self, frame: Frame) -> None:
        self._begin_ns = (self._before[0] if self._before else frame).stamp_ns
        self._recogniser.start()
        for earlier in self._before:
            self._recogniser.push(earlier.pcm)
        self._recogniser.push(frame.pcm)

    def _end(self, now_ns: int) -> Wish | None:
        begin_ns, self._begin_ns = self._begin_ns or 0, None
        self.counts["utterances"] += 1
        heard = self._recogniser.end(self._endpoint.speech_s)
        understood = self.grammar.understand(heard.text) if heard is not None else None
        if heard is None or understood is None or heard.p < self._config.least_p:
            # Still asked: the first utterance may be the rest of the wake word.
            self.counts["unlikely"] += 1
            return None
        self._until_ns = None
        self.counts["commands"] += 1
        return _wish(heard, understood.intent, understood.slots, now_ns, begin_ns)


def _wish(heard: Heard, intent: str, slots: dict[str, str], now_ns: int, begin_ns: int) -> Wish:
    return Wish(intent=intent, slots=slots, p=heard.p, stamp_ns=now_ns, begin_ns=begin_ns, text=heard.text)
