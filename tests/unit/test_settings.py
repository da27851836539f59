"""Settings: who wins, what is refused, and that every refusal names the key and the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import SettingsError
from services.settings import Loaded, Settings, described, known, load

HOME = {"RIDDLE_HOME": "/somewhere"}


def load_text(folder: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    file = folder / "riddle.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, HOME | (environ or {}))


def test_without_file_and_variables_everything_is_a_default() -> None:
    loaded = load(None, {"XDG_DATA_HOME": "/data"})
    assert loaded.settings == Settings(home=Path("/data/riddle"))
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.file is None


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    text = "[server]\nport = 1\nmax_k = 50\ndefault_k = 5\n"
    file = tmp_path / "riddle.toml"
    file.write_text(text)
    loaded = load(file, {"RIDDLE_PORT": "2", "RIDDLE_SERVER_MAX_K": "60"}, {"server.port": 3})
    server = loaded.settings.server
    assert (server.port, server.max_k, server.default_k, server.host) == (3, 60, 5, "127.0.0.1")
    assert [loaded.origins[f"server.{key}"] for key in ("port", "max_k", "default_k", "host")] == [
        "command line",
        "RIDDLE_SERVER_MAX_K",
        f"{file}:4",
        "default",
    ]


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert load(None, HOME, {"server.port": None}).origins["server.port"] == "default"


def test_the_home_folder_may_hold_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "riddle.toml").write_text('default_collection = "django"\n')
    loaded = load(None, {"RIDDLE_HOME": str(tmp_path)})
    assert loaded.settings.default_collection == "django"
    assert loaded.origins["default_collection"] == f"{tmp_path}/riddle.toml:1"


def test_the_file_that_a_variable_names_is_read_instead(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[rank]\ndepth = 7\n")
    assert load(None, HOME | {"RIDDLE_CONFIG": str(other)}).settings.rank.depth == 7


def test_paths_in_a_file_start_at_that_file(tmp_path: Path) -> None:
    file = tmp_path / "riddle.toml"
    file.write_text('home = "kept/here"\n')
    assert load(file, {}).settings.home == tmp_path / "kept" / "here"


@pytest.mark.parametrize(
    ("text", "key", "close"),
    [
        ("[server]\nprot = 1\n", "server.prot", "server.port"),
        ("[sever]\nport = 1\n", "sever.port", "server.port"),
        ("port = 1\n", "port", "server.port"),
        ("[recall]\nrrfk = 1\n", "recall.rrfk", "recall.rrf_k"),
        ("[cache]\nredis-url = 'x'\n", "cache.redis-url", "cache.redis_url"),
        ("[nonsense]\n", "nonsense", "recall."),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(
    tmp_path: Path, text: str, key: str, close: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_text(tmp_path, text)
    assert f"unknown setting {key} in {tmp_path}/riddle.toml" in refused.value.detail
    if key != "nonsense":
        assert f"the nearest known one is {close}" in refused.value.detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[server]\nport = "80"\n', r"server\.port from .*riddle\.toml:2 must be an integer, not '80'"),
        ("[server]\nport = 80.5\n", r"server\.port .* must be an integer, not 80\.5"),
        ("[server]\nport = true\n", r"server\.port .* must be an integer, not True"),
        ("[answer]\nabstain = 1\n", r"answer\.abstain .* must be true or false, not 1"),
        ("[generation]\ntimeout_s = 'x'\n", r"generation\.timeout_s .* must be a number"),
        ("[models]\nruntime = 'tpu'\n", r"models\.runtime .* must be one of auto, native, onnxruntime, .*, not 'tpu'"),
        ("home = 3\n", r"home .* must be a path"),
        ("server = 3\n", r"server in .* is a section"),
        ("[server]\nport = 99999\n", r"server\.port must be from 0 to 65535, not 99999 \(server\.port from .*:2\)"),
        ("[generation]\nurl = 'localhost:8000'\n", r"generation\.url must be an address that starts with http"),
        ("[recall]\nfusion = 'mean'\n", r"recall\.fusion .* must be one of rrf, weighted, dbsf, not 'mean'"),
        ("[rank]\ndiversity = 1.5\n", r"diversity must be from 0 to 1, not 1\.5 \(rank\.diversity from .*:2\)"),
        ("[rank]\nfields = 'stars:log'\n", r"rank\.fields .* must be a list of text, not 'stars:log'"),
        ("[rank]\nfields = ['stars:root']\n", r"'stars:root': wants FIELD:KIND.*\(rank\.fields from .*:2\)"),
        ("[server\n", r"riddle\.toml is not valid TOML"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_text(tmp_path, text)


def test_a_list_is_written_with_commas_in_a_variable() -> None:
    found = load(None, HOME | {"RIDDLE_RANK_FIELDS": "stars:log, updated:age"}).settings.rank
    assert found.fields == ("stars:log", "updated:age")
    assert found.fields_text == "stars:log, updated:age"


def test_an_integer_will_do_for_a_number(tmp_path: Path) -> None:
    assert load_text(tmp_path, "[generation]\ntimeout_s = 5\n").settings.generation.timeout_s == 5.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RIDDLE_PROT", "1", "unknown environment variable RIDDLE_PROT; the nearest known one is RIDDLE_PORT"),
        ("RIDDLE_PORT", "http", "server.port from RIDDLE_PORT must be an integer, not 'http'"),
        ("RIDDLE_ANSWER_ABSTAIN", "perhaps", "answer.abstain from RIDDLE_ANSWER_ABSTAIN must be true or false"),
        (
            "RIDDLE_GENERATION_TIMEOUT_S",
            "nan",
            "generation.timeout_s from RIDDLE_GENERATION_TIMEOUT_S must",
        ),
        ("RIDDLE_CONFIG", "/nowhere/at/all.toml", "cannot read the settings file /nowhere/at/all.toml"),
    ],
)
def test_a_bad_variable_is_refused_by_name(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, HOME | {name: value})
    assert message in refused.value.detail


def test_short_and_long_names_of_one_setting_may_not_disagree() -> None:
    both = {"RIDDLE_PORT": "1", "RIDDLE_SERVER_PORT": "2"}
    with pytest.raises(SettingsError, match=r"RIDDLE_PORT and RIDDLE_SERVER_PORT both set server\.port"):
        load(None, HOME | both)
    assert load(None, HOME | {"RIDDLE_PORT": "2", "RIDDLE_SERVER_PORT": "2"}).settings.server.port == 2


def test_variables_of_others_and_of_the_tests_are_left_alone() -> None:
    assert load(None, HOME | {"RIDDLE_DATA": "x", "PATH": "y"}).settings == Settings(home=Path("/somewhere"))


def test_an_unknown_flag_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match=r"server\.prot; the nearest known one is server\.port"):
        load(None, HOME, {"server.prot": 1})


def test_secrets_and_passwords_in_addresses_are_masked() -> None:
    environ = {"RIDDLE_GENERATION_API_KEY": "sk-very-secret", "RIDDLE_REDIS_URL": "redis://me:pass@host:6379/0"}
    loaded = load(None, HOME | environ)
    shown = loaded.shown()
    assert shown["generation.api_key"] == "********"
    assert shown["cache.redis_url"] == "redis://me:********@host:6379/0"
    assert "secret" not in repr(loaded.settings)


def test_variable_names_are_unique_and_every_setting_has_a_note() -> None:
    names = [name for setting in known().values() for name in setting.env]
    assert len(names) == len(set(names))
    assert described().keys() == known().keys()


@given(st.sampled_from(sorted(known())), st.text(min_size=1, max_size=12))
def test_whatever_a_variable_holds_it_loads_or_names_its_key(key: str, text: str) -> None:
    """No value makes anything but a setting of the right type or a SettingsError that names the key."""
    setting = known()[key]
    said = ""
    try:
        said = load(None, HOME | {setting.env[0]: text}).origins[key]
    except SettingsError as error:
        said = error.detail
    assert key in said or said == setting.env[0]
