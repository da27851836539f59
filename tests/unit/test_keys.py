"""API keys: made once, kept as hashes, read anew when their file changes, and closed rather than open when in doubt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import InvalidRequest, SettingsError, Unauthorized, Unavailable
from services.auth import Caller, KeyDoor, check_exposure, is_loopback, presented
from services.keys import KeyRing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_key_is_found_by_its_token_and_by_nothing_else(path: Path) -> None:
    ring = KeyRing(path)
    key, token = ring.create(["group:eng", "user:ada@example.org"], write=True, label="ci")
    other, other_token = ring.create(["group:ops"])
    assert ring.find(token) == key
    assert ring.find(other_token) == other
    assert (key.principals, key.write, key.label) == (("group:eng", "user:ada@example.org"), True, "ci")
    swapped = f"rk_{key.id}_{other_token.rpartition(other.id + '_')[2]}"
    for wrong in ("", token[:-1], token + "x", token.upper(), swapped, key.sha256, key.id, "rk_", "é", "\ud800"):
        assert ring.find(wrong) is None, wrong


def test_the_token_is_nowhere_on_disk_and_the_file_is_the_owners(path: Path) -> None:
    _, token = KeyRing(path).create(["group:eng"])
    kept = path.read_text(encoding="utf-8")
    assert token not in kept
    assert token.rpartition("_")[2] not in kept
    assert path.stat().st_mode & 0o077 == 0


def test_what_another_process_changes_counts_at_the_next_look(path: Path) -> None:
    serving, command = KeyRing(path), KeyRing(path)
    assert not path.exists()
    key, token = command.create(["group:eng"])
    assert serving.exists
    assert serving.find(token) == key
    command.revoke(key.id)
    assert serving.find(token) is None


def test_after_the_last_key_is_revoked_a_key_is_needed_still(path: Path) -> None:
    ring = KeyRing(path)
    key, token = ring.create([])
    ring.revoke(key.id)
    with pytest.raises(Unauthorized):
        KeyDoor(ring, exposed=False).admit(bearer(token))
    with pytest.raises(Unauthorized):
        KeyDoor(ring, exposed=False).admit({})


@pytest.mark.parametrize("principal", ["", "a b", "a,b", "a\n", "x" * 129, "group:\x00"])
def test_what_is_no_principal_is_refused(path: Path, principal: str) -> None:
    with pytest.raises(InvalidRequest, match="principal"):
        KeyRing(path).create([principal])
    assert not path.exists()


def test_a_key_that_is_not_there_cannot_be_revoked(path: Path) -> None:
    key, _ = KeyRing(path).create([])
    with pytest.raises(InvalidRequest, match=key.id):
        KeyRing(path).revoke("00000000")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"format": 2, "keys": []}', '{"format": 1}', '{"format": 1, "keys": [{"id": "x"}]}'],
)
def test_a_file_that_cannot_be_read_lets_nobody_in(path: Path, content: str) -> None:
    ring = KeyRing(path)
    _, token = ring.create([])
    path.write_text(content, encoding="utf-8")
    for headers in ({}, bearer(token)):
        with pytest.raises(Unavailable, match="nobody is let in"):
            KeyDoor(ring, exposed=False).admit(headers)


def test_without_keys_everybody_on_this_machine_is_public_and_may_write(path: Path) -> None:
    door = KeyDoor(KeyRing(path), exposed=False)
    assert door.admit({}) == Caller(may_write=True)
    assert door.admit(bearer("whatever")).rights.principals == ("public",)


def test_without_keys_nobody_comes_in_from_elsewhere(path: Path) -> None:
    ring = KeyRing(path)
    with pytest.raises(Unauthorized):
        KeyDoor(ring, exposed=True).admit({})
    with pytest.raises(SettingsError, match="riddle keys create"):
        check_exposure("0.0.0.0", ring)
    check_exposure("127.0.0.1", ring)
    ring.create([])
    check_exposure("0.0.0.0", ring)


def test_rights_come_from_the_key_with_what_everybody_may_see(path: Path) -> None:
    ring = KeyRing(path)
    key, token = ring.create(["user:b", "group:a"])
    door = KeyDoor(ring, exposed=True)
    for headers in (bearer(token), {"x-api-key": token}, {"authorization": f"bearer  {token} "}):
        caller = door.admit(headers)
        assert caller.rights.principals == ("group:a", "public", "user:b")
        assert (caller.may_write, caller.key_id) == (False, key.id)


def test_another_scheme_is_no_key_whatever_stands_beside_it() -> None:
    assert presented({"authorization": "Basic abc", "x-api-key": "rk"}) == ""
    assert presented({"authorization": "Bearer abc", "x-api-key": "rk"}) == "abc"
    assert presented({"x-api-key": " rk "}) == "rk"


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("127.1", False),
    ],
)
def test_what_other_machines_may_reach_is_told_by_the_address(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


def test_principals_are_kept_sorted_once_and_without_the_one_that_all_have(path: Path) -> None:
    key, _ = KeyRing(path).create(["b", "a", "b", "public"])
    assert key.principals == ("a", "b")
    assert json.loads(path.read_text())["keys"][0]["principals"] == ["a", "b"]
