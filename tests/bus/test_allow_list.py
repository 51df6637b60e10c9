import os
from datetime import datetime, timedelta, timezone

import pytest

from fusion_rt.bus import Curve, KeyPair, Publisher, Subscriber, allow_list
from fusion_rt.bus.allow_list import AllowList
from fusion_rt.errors import BusError

ENDPOINT = "tcp://127.0.0.1:39521"
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def pairs():
    return KeyPair.generate(), KeyPair.generate(), KeyPair.generate()


def listed(path, **names):
    entries = {}
    for name, pair in names.items():
        entries = allow_list.add(entries, name, pair.public, overlap=None, now=NOW)
    allow_list.save(path, entries)
    return path


def subscribe(pair, server):
    curve = Curve(pair=pair, servers={ENDPOINT: server.public})
    return Subscriber({"cam": ENDPOINT}, curve=curve)


def send_until(publisher, subscriber, samples, *, tries=200):
    """Whether a message arrives, of many."""
    for seq in range(tries):
        publisher.send(samples.imu(seq))
        if subscriber.recv(0.05) is not None:
            return True
    return False


def test_nobody_is_let_in_by_an_empty_list(samples, pairs):
    """A server without a list lets in everyone in ZeroMQ; not here."""
    server, stranger, _ = pairs
    with Publisher(ENDPOINT, "cam", curve=Curve(pair=server)) as publisher, subscribe(stranger, server):
        assert not publisher.wait_for_subscribers(1, 1.0)


def test_a_key_is_added_and_withdrawn_while_all_runs(tmp_path, samples, pairs):
    server, friend, late = pairs
    path = listed(tmp_path / "allowed.json", friend=friend)
    allowed = AllowList(path=path)
    with (
        Publisher(ENDPOINT, "cam", curve=Curve(pair=server, allow=allowed)) as publisher,
        subscribe(friend, server) as first,
        subscribe(late, server) as second,
    ):
        assert send_until(publisher, first, samples)
        assert second.recv(0.2) is None
        listed(path, friend=friend, late=late)
        assert send_until(publisher, second, samples)  # it has tried again by itself
        listed(path, late=late)
        while not allowed.revocations:
            first.recv(0.05)
        publisher.send(samples.imu(1000))  # ends the connections before it sends
        while (left := first.recv(0.3)) is not None:
            assert left.header.seq < 1000
        assert send_until(publisher, second, samples)  # who is still allowed is there again
        assert not send_until(publisher, first, samples, tries=20)
        assert allowed.refused


def test_an_old_key_is_accepted_for_a_while(tmp_path, samples, pairs):
    """Rotation: both keys, then the new one alone, without a restart."""
    server, old, new = pairs
    path = listed(tmp_path / "allowed.json", desk=old)
    allowed = AllowList(path=path)
    with (
        Publisher(ENDPOINT, "cam", curve=Curve(pair=server, allow=allowed)) as publisher,
        subscribe(old, server) as before,
        subscribe(new, server) as after,
    ):
        now = datetime.now(timezone.utc)
        entries = allow_list.add(
            allow_list.load(path), "desk", new.public, overlap=timedelta(seconds=3), now=now
        )
        allow_list.save(path, entries)
        assert send_until(publisher, before, samples)
        assert send_until(publisher, after, samples)
        while not allowed.revocations:
            after.recv(0.05)
        assert datetime.now(timezone.utc) >= entries["desk"][0].until
        assert send_until(publisher, after, samples)
        while before.recv(0) is not None:
            pass
        assert not send_until(publisher, before, samples, tries=20)


def test_a_damaged_list_lets_nobody_in(tmp_path, pairs, capsys):
    path = listed(tmp_path / "allowed.json", friend=pairs[0])
    allowed = AllowList(path=path)
    key = pairs[0].public.encode()
    assert allowed.admits(key)
    path.write_text("{")
    allowed.look_again()
    assert not allowed.admits(key)
    assert allowed.revocations == 1
    assert "nobody is let in" in capsys.readouterr().err
    listed(path, friend=pairs[0])
    assert allowed.admits(key)


def test_files(tmp_path, pairs):
    path = listed(tmp_path / "allowed.json", friend=pairs[0])
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["allowed.json"]
    with pytest.raises(BusError, match="already, as 'friend'"):
        allow_list.add(allow_list.load(path), "other", pairs[0].public, overlap=None, now=NOW)
    with pytest.raises(BusError, match="--overlap"):
        allow_list.add(allow_list.load(path), "friend", pairs[1].public, overlap=None, now=NOW)
    with pytest.raises(BusError, match="there are: friend"):
        allow_list.remove(allow_list.load(path), "fiend")
    path.chmod(0o644)
    with pytest.raises(BusError, match="chmod 600"):
        AllowList(path=path)
    path.chmod(0o600)
    path.write_text('{"friend": [{"key": "short"}]}')
    with pytest.raises(BusError, match="friend: a CURVE key is 40"):
        AllowList(path=path)


def test_expired_entries_go_when_another_is_added(pairs):
    entries = allow_list.add({}, "desk", pairs[0].public, overlap=None, now=NOW)
    entries = allow_list.add(entries, "desk", pairs[1].public, overlap=timedelta(hours=1), now=NOW)
    later = NOW + timedelta(hours=2)
    entries = allow_list.add(entries, "desk", pairs[2].public, overlap=timedelta(0), now=later)
    assert [entry.key for entry in entries["desk"] if entry.valid(later)] == [pairs[2].public]
    assert len(entries["desk"]) == 2
