"""Help texts: sentences, with every default and unit."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from ase_wavescat.cli import main
from ase_wavescat.testing import CHECKS

UNITS = ("eV", "Å", "GPa", "in K", "ps")
NO_UNIT = {("combine", "weights"), ("elastic", "strain"), ("eos", "reach"), ("search", "symmetric")}
OPTIONS = [
    (name, option)
    for name, command in main.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def is_a_sentence(text: str) -> bool:
    return text[0].isupper() and text.endswith(".") and len(text.split()) > 2


@pytest.mark.parametrize("name", main.commands)
def test_commands_are_described_in_sentences(name: str) -> None:
    command = main.commands[name]
    assert command.help is not None
    parts = [part.strip() for part in command.help.split("\n\n")]
    paragraphs = [part for part in parts if not part.startswith("\b")]
    assert is_a_sentence(paragraphs[0]) and len(paragraphs[0].partition(".")[0]) < 80
    assert all(part.endswith((".", ":")) for part in paragraphs)
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=[f"{name}-{option.name}" for name, option in OPTIONS])
def test_options_are_described_in_sentences_with_default_and_unit(name: str, option: click.Option) -> None:
    assert option.help is not None and is_a_sentence(option.help), option.help
    shown = option.get_help_record(click.Context(main.commands[name]))
    assert shown is not None
    if not (option.is_flag and not option.secondary_opts) and (name, option.name) != ("train", "output"):
        assert "[default: " in shown[1], shown
    if isinstance(option.type, (click.types.FloatParamType, click.FloatRange)) and (name, option.name) not in NO_UNIT:
        assert any(unit in shown[1] for unit in UNITS), shown


def test_defaults_that_are_told_are_those_of_the_settings() -> None:
    """Options that are None unless they are given: what has the numbers is below."""
    from ase_wavescat.training.settings import Settings
    from ase_wavescat.workflows.melting import MeltSchedule

    settings, told = Settings(), {(name, option.name): str(option.show_default) for name, option in OPTIONS}
    for name in ("energy_weight", "force_weight", "stress_weight", "members", "folds", "seed", "method", "group_key"):
        value = getattr(settings, name)
        assert told["train", name].split()[0] == (value if isinstance(value, str) else f"{value:g}"), name
    assert float(told["screen", "melt_temperature"]) == MeltSchedule().temperature
    assert float(told["screen", "quench_time"]) == MeltSchedule().quenching


def test_check_names_its_checks() -> None:
    shown = " ".join(CliRunner().invoke(main, ["check", "--help"]).output.split("Options:")[0].split())
    assert all(check.name in shown for check in CHECKS)
