"""Speech to a sentence of a grammar, by PocketSphinx (BSD), its English acoustic model inside the package.

A grammar alone hears one of its sentences in everything. A second decoder hears free phones in the same
speech (its phone language model is in the package, too): how much better the sentence explains the speech
than free phones do is the confidence, as in keyword spotting against a phone loop (Rohlicek et al.,
"Continuous hidden Markov modeling for speaker-independent word spotting", ICASSP 1989)."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.sound.language import Language
from fusion_rt.sound.needs import voice_extra

_SCORE_NATS = 1024.0  # pocketsphinx divides log-likelihoods by it before it raises them
_NO_WORDS = ("(NULL)", "<sil>", "[NOISE]", "[SPEECH]", "<s>", "</s>", "SIL", "+SPN+", "+NSN+")
_FRAME_S = 0.01


class Fit(Struct, frozen=True, kw_only=True):
    """How a sentence fits an utterance.

    gain             nats a frame of its words by which it explains the sound better than free phones do
    longest_word_s, longest_pause_s  in it: long where the grammar was forced upon something else
    unexplained_s    speech outside of it
    """

    gain: float
    longest_word_s: float
    longest_pause_s: float
    unexplained_s: float


class Heard(Struct, frozen=True, kw_only=True):
    """A sentence of the grammar, how it fits, and the probability that it was said, by that."""

    text: str
    fit: Fit
    p: float


class Recogniser:
    """One utterance after the other: start, push as it comes, end; after `use`.

    Of the dictionary only what the grammar needs is loaded: all of it takes 30 MB, twice.

    Raises ConfigError: the language has no acoustic model, or the extra is not installed."""

    def __init__(self, language: Language) -> None:
        with voice_extra():
            import pocketsphinx
        self._decoder = pocketsphinx.Decoder
        self._hmm, self._dictionary, self._phone_model = _files(language, pocketsphinx)
        self._pronunciations = language.pronunciations
        self._started = False

    @property
    def words(self) -> frozenset[str]:
        """What can be said; read from the dictionary each time."""
        return _words(self._dictionary) | frozenset(self._pronunciations)

    def use(self, jsgf: str, vocabulary: Collection[str]) -> None:
        """Listen for this grammar of these words. Raises ConfigError where it cannot be parsed."""
        with NamedTemporaryFile("w", encoding="utf-8", suffix=".dict") as part:
            part.writelines(_lines_of(self._dictionary, vocabulary))
            part.flush()
            usual = {"hmm": self._hmm, "dict": part.name, "loglevel": "FATAL"}
            self._grammar = self._decoder(lm=None, bestpath=False, **usual)
            # Narrower beams than a transcript would want: its likelihood is all that is asked.
            self._phones = self._decoder(allphone=self._phone_model, lw=2.0, beam=1e-20, pbeam=1e-20, **usual)
        for word, pronunciation in self._pronunciations.items():
            self._grammar.add_word(word, pronunciation, True)
        try:
            self._grammar.add_jsgf_string("home", jsgf)
            self._grammar.activate_search("home")
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"pocketsphinx refuses the grammar: {error}") from error

    def start(self) -> None:
        """A new utterance."""
        if self._started:
            self._end()
        self._grammar.start_utt()
        self._phones.start_utt()
        self._started = True

    def push(self, pcm: NDArray[np.int16]) -> None:
        """pcm (N,) int16 at 16 kHz."""
        data = pcm.tobytes()
        self._grammar.process_raw(data)
        self._phones.process_raw(data)

    def end(self, speech_s: float) -> Heard | None:
        """What was said; None: nothing of the grammar. speech_s: how much speech the utterance has."""
        self._end()
        hypothesis, free = self._grammar.hyp(), self._phones.hyp()
        if hypothesis is None or not hypothesis.hypstr or free is None:
            return None
        segments = [
            (s.word, s.end_frame - s.start_frame + 1) for s in self._grammar.seg() if s.word != "(NULL)"
        ]
        said = [i for i, (word, _) in enumerate(segments) if word not in _NO_WORDS]
        if not said:
            return None
        inside = segments[said[0] : said[-1] + 1]
        pauses = [frames for word, frames in inside if word in _NO_WORDS]
        frames = [frames for word, frames in inside if word not in _NO_WORDS]
        better = math.log(max(hypothesis.best_score, 1e-300)) - math.log(max(free.best_score, 1e-300))
        fit = Fit(
            gain=_SCORE_NATS * better / sum(frames),
            longest_word_s=max(frames) * _FRAME_S,
            longest_pause_s=max(pauses, default=0) * _FRAME_S,
            unexplained_s=max(0.0, speech_s - sum(n for _, n in inside) * _FRAME_S),
        )
        return Heard(text=hypothesis.hypstr, fit=fit, p=probability(fit))

    def _end(self) -> None:
        self._grammar.end_utt()
        self._phones.end_utt()
        self._started = False


def probability(fit: Fit) -> float:
    """That the sentence was said. Spoken sentences have a gain of -1.4 to 1.2, others that were forced into a
    grammar one of -8 to -1.5 (docs/voice.md); half-way lies even."""
    score = 3.0 * (fit.gain + 1.4)
    score -= 6.0 * max(0.0, fit.longest_word_s - 0.85) + 6.0 * max(0.0, fit.longest_pause_s - 0.4)
    score -= 6.0 * max(0.0, fit.unexplained_s - 0.4)
    return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))


def _files(language: Language, package: Any) -> tuple[str, str, str]:
    if not language.acoustic_model:
        raise ConfigError(
            f"language {language.language}: no acoustic model comes with pocketsphinx; give the folder of"
            " one as `acoustic_model` in a language file of your own, or take en"
        )
    if language.acoustic_model == "en-us":
        folder = Path(package.get_model_path("en-us"))
        return str(folder / "en-us"), str(folder / "cmudict-en-us.dict"), str(folder / "en-us-phone.lm.bin")
    folder = Path(language.acoustic_model)
    parts = (folder / "hmm", folder / "dict", folder / "phones.lm.bin")
    for part in parts:
        if not part.exists():
            raise ConfigError(f"language {language.language}: acoustic_model: {part} is missing")
    return str(parts[0]), str(parts[1]), str(parts[2])


def _words(dictionary: str) -> frozenset[str]:
    """The words of a pronunciation dictionary: one a line, then its phones; "the(2)" is a second way."""
    with open(dictionary, encoding="utf-8") as lines:
        return frozenset(_word(line) for line in lines if line.strip())


def _lines_of(dictionary: str, vocabulary: Collection[str]) -> list[str]:
    with open(dictionary, encoding="utf-8") as lines:
        return [line for line in lines if line.strip() and _word(line) in vocabulary]


def _word(line: str) -> str:
    return line.split(maxsplit=1)[0].partition("(")[0]
