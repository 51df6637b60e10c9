import pytest
from msgspec import Struct

from fusion_rt import config
from fusion_rt.errors import ConfigError


class Inner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rate_hz: float = 10.0

    def __post_init__(self):
        if self.rate_hz <= 0:
            raise ConfigError(f"rate_hz is {self.rate_hz}, expected positive")


class Outer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    inner: Inner = Inner()
    many: dict[str, Inner] = {}
    listed: list[Inner] = []
    maybe: Inner | None = None


def test_values_and_defaults():
    parsed = config.parse("{name: a, many: {x: {rate_hz: 5}}}", Outer, "f.yaml")
    assert parsed.many["x"].rate_hz == 5
    assert parsed.inner.rate_hz == 10
    assert parsed.maybe is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{name: a, nane: b}", r"f\.yaml: nane: unknown key, did you mean 'name'\?"),
        ("{name: a, many: {x: {rate: 5}}}", r"many\.x\.rate: unknown key"),
        ("{name: a, listed: [{}, {rte_hz: 5}]}", r"listed\[1\]\.rte_hz: unknown key, did you mean 'rate_hz'"),
        ("{name: a, maybe: {rte_hz: 5}}", r"maybe\.rte_hz"),
        ("{name: a, many: {x: {}, y: {rate_hz: fast}}}", r"many\.y\.rate_hz: Expected `float`, got `str`"),
        ("{name: a, listed: [{}, {rate_hz: fast}]}", r"listed\[1\]\.rate_hz: Expected `float`"),
        ("{name: a, many: {y: {rate_hz: -1}}}", r"many\.y: rate_hz is -1"),
        ("{}", "missing required field `name`"),
        ("name: {", "not YAML"),
    ],
)
def test_errors_say_where_and_what(text, says):
    with pytest.raises(ConfigError, match=says):
        config.parse(text, Outer, "f.yaml")
