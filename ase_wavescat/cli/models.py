"""Commands around models: what is in one, a demonstration, training and evaluation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ase_wavescat.cli.options import (
    model_option,
    overwrite_option,
    quiet_option,
    reference_option,
    virial_of,
    virial_options,
    workers_option,
)
from ase_wavescat.cli.structures import INPUTS, inputs_record, kept


@click.command()
@click.argument("model")
def info(model: str) -> None:
    """Print the model card of a model.

    MODEL is a path, or a name in the folders of WAVESCAT_MODELS or among the bundled models.
    """
    from ase_wavescat.potentials.card import model_card
    from ase_wavescat.potentials.file.model_file import load_model
    from ase_wavescat.potentials.file.search import find_model

    path = find_model(model)
    click.echo(f"model       {path}")
    click.echo(model_card(load_model(path)))


@click.command()
@model_option()
@click.option(
    "-o", "--output", default="wavescat-demo", show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="Write the picture and the table into this folder.",
)  # fmt: skip
@overwrite_option()
def demo(model: str, output: Path, overwrite: bool) -> None:
    """Show what a model says of amorphous Li-Si.

    The demo computes energy, forces, stress and uncertainties, a relaxation and an energy-volume curve. Written are
    demo.png and demo.json, which holds the lines of the table. A demo of the same model is kept.
    """
    from ase_wavescat.potentials.file.model_file import load_model
    from ase_wavescat.system.atomic_write import atomic_path, make_folder
    from ase_wavescat.system.plotting import save_figure
    from ase_wavescat.workflows.demo import demo_figure, run_demo, shipped_structure, table

    picture, record = output / "demo.png", output / "demo.json"
    inputs = inputs_record([shipped_structure()], load_model(model), {"workflow": "demo"})
    if (earlier := kept(record, inputs, overwrite)) is not None:
        click.echo("\n".join([*earlier["table"], f"\ndemo: kept, it is in {output} already"]))
        return
    result = run_demo(model)
    click.echo(table(result))
    make_folder(output)
    save_figure(demo_figure(result), picture)
    content = {"table": table(result).splitlines(), INPUTS: inputs}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    click.echo(f"\npicture: {picture}")


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--preset", default="correlations", show_default=True, help="Size the features of this preset.")
@click.option(
    "--json", "spec_file", type=click.Path(dir_okay=False, path_type=Path),
    show_default="none is written",
    help="Write the specification to this file, for `wavescat train --spec`.",
)  # fmt: skip
@overwrite_option()
def suggest(data: tuple[str, ...], preset: str, spec_file: Path | None, overwrite: bool) -> None:
    """Propose widths, scales and features for structures, and say why.

    DATA, labelled or not, are extended XYZ files, ASE databases, folders or (quoted) globs of them.
    """
    from ase_wavescat.representation.specification_file import read_spec, write_spec
    from ase_wavescat.system.errors import DataError
    from ase_wavescat.training.suggest import report
    from ase_wavescat.training.suggest import suggest as propose

    earlier = read_spec(spec_file) if spec_file and spec_file.exists() and not overwrite else None
    suggestion = propose(list(data), preset)
    if spec_file and earlier is None:
        write_spec(suggestion.spec, spec_file)
    click.echo(report(suggestion, list(data), spec_file))
    if earlier is not None and earlier != suggestion.spec:
        raise DataError(f"{spec_file} is there, another specification; name another file, or replace it by --overwrite")


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the model to this file (.h5). It must be named, here or in a run file.",
)
@click.option("--preset", show_default="correlations, or the prior's", help="Take the features of this preset.")
@click.option(
    "--spec", "spec_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="none",
    help="Take the features of a specification that `wavescat suggest --json` wrote, in place of a preset.",
)  # fmt: skip
@click.option(
    "--group-key", show_default="group",
    help="Keep together frames that have the same value of this key; 'none' makes each a group of its own.",
)  # fmt: skip
@virial_options
@click.option(
    "--method", type=click.Choice(["ridge", "sparse", "greedy", "network"]),
    show_default="ridge",
    help="Fit a weight for every feature (ridge), choose features by labels and cost before (sparse), take the papers'"
    " orthogonal least squares on energies (greedy), or train a network of learned point scattering (network).",
)  # fmt: skip
@click.option(
    "--size", type=click.IntRange(min=1),
    show_default="what held-out groups ask for",
    help="Take so many features in a sparse model, and so many at most in a greedy member.",
)  # fmt: skip
@click.option(
    "--bagging/--no-bagging", default=None, show_default="bagging",
    help="Let greedy members choose among a random few features at each step.",
)  # fmt: skip
@click.option(
    "--prior", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="none",
    help="Draw the weights of ridge towards those of this model, which has the same features.",
)  # fmt: skip
@reference_option("fitted")
@click.option(
    "--energy-weight", type=click.FloatRange(0, min_open=True), show_default="300 atoms/eV",
    help="Weigh energies by one over the error expected of them, in atoms/eV.",
)  # fmt: skip
@click.option(
    "--force-weight", type=click.FloatRange(min=0), show_default="10 Å/eV",
    help="Weigh forces by one over the error expected of a component, in Å/eV.",
)  # fmt: skip
@click.option(
    "--stress-weight", type=click.FloatRange(min=0), show_default="600 Å³/eV",
    help="Weigh stresses by one over the error expected of a component, in Å³/eV.",
)  # fmt: skip
@click.option(
    "--members",
    type=click.IntRange(min=1),
    show_default="20 (networks: 1)",
    help="Make an ensemble of so many bootstrap members.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    show_default="5 (networks: 10)",
    help="Cross-validate by group with so many folds; networks hold out one of them.",
)
@click.option(
    "--directions", type=click.IntRange(min=0), show_default="all forces; 16 with moduli",
    help="Fit forces along so many random directions of each frame; 0 takes energies only.",
)  # fmt: skip
@click.option("--seed", type=int, show_default="0", help="Seed the folds and the bootstrap.")
@click.option(
    "--repulsion/--no-repulsion", default=True, show_default=True,
    help="Take a short-range pair repulsion off before the fit, which the model adds again.",
)  # fmt: skip
@click.option(
    "--store", type=click.Path(file_okay=False, path_type=Path), show_default="the output with .features",
    help="Keep the features, or a network's checkpoints, in this folder.",
)  # fmt: skip
@workers_option()
@click.option("--label-source", show_default="none", help="Say on the model card where the labels come from.")
@click.option("--citation", show_default="none", help="Say on the model card how to cite the data.")
@click.option("--licence", show_default="none", help="Say on the model card what the licence of the data is.")
@overwrite_option()
@quiet_option()
@click.pass_context
def train(
    context: click.Context, data: tuple[str, ...], output: Path | None, preset: str | None, spec_file: Path | None,
    prior: Path | None, repulsion: bool, store: Path | None, workers: int | None, label_source: str | None,
    citation: str | None, licence: str | None, overwrite: bool, quiet: bool, virial: str | None,
    virial_sign: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a model on labelled structures.

    DATA are extended XYZ files (plain, .gz, .xz, .bz2), ASE databases, outputs of VASP and other programs, folders or
    (quoted) globs; or one run file (.toml), which says all that options do and more: weights, several label sources,
    formation energies. Of the options only --output, --workers, --overwrite and --quiet go with a run file.

    A model that is there, of the same data and settings, is kept.
    """
    if any(name.lower().endswith(".toml") for name in data):
        _train_by_file(context, data, overwrite, quiet)
        return
    from ase_wavescat.representation.specification_file import read_spec
    from ase_wavescat.training.data.sources import Source
    from ase_wavescat.training.fitting import train as run
    from ase_wavescat.training.settings import Settings

    if output is None:
        raise click.UsageError("--output (-o) is missing: the model file to write")
    if preset and spec_file:
        raise click.UsageError("--preset and --spec both say what the features are: give one of them")
    chosen = {key: value for key, value in settings.items() if value is not None}
    try:
        Settings(**chosen)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    virial_of(virial, virial_sign)
    source = Source(data, group_key=settings["group_key"] or "group", virial=virial, virial_sign=virial_sign)
    provenance = {"label_source": label_source, "citation": citation, "licence": licence}
    run(
        source,
        output,
        read_spec(spec_file) if spec_file else preset,
        store=store,
        repulsion=repulsion,
        prior=prior,
        workers=workers,
        provenance={key: value for key, value in provenance.items() if value is not None},
        overwrite=overwrite,
        progress=not quiet,
        **chosen,
    )


def _train_by_file(context: click.Context, data: tuple[str, ...], overwrite: bool, quiet: bool) -> None:
    from dataclasses import replace

    from ase_wavescat.training.run_file import read_run

    if len(data) > 1:
        raise click.UsageError(f"a run file stands alone: put the other data into it, not beside {data[0]}")
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    beside = [parameter for parameter in context.command.params if parameter.name in given]
    allowed = ("data", "output", "workers", "overwrite", "quiet")
    refused = [option.opts[-1] for option in beside if option.name not in allowed]
    if refused:
        raise click.UsageError(f"{data[0]} says what {', '.join(refused)} would: put it into the file")
    changes = {name: context.params[name] for name in ("output", "workers") if context.params[name] is not None}
    replace(read_run(data[0]), **changes).train(progress=not quiet, overwrite=overwrite)


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "-o", "--output", default="report", show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="Write report.html and report.json into this folder.",
)  # fmt: skip
@click.option(
    "--group-key",
    default="group",
    show_default=True,
    help="Take frames that have the same value of this key for one group; 'none' makes each a group of its own, as in"
    " files without the default key.",
)
@virial_options
@workers_option()
@click.option(
    "--calibrate",
    is_flag=True,
    help="Store in MODEL the scales of its uncertainties that DATA ask for; its training data are refused.",
)
@overwrite_option()
@quiet_option()
def evaluate(
    model: str, data: tuple[str, ...], output: Path, group_key: str, virial: str | None, virial_sign: str | None,
    workers: int | None, calibrate: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare MODEL with labelled structures and write a report.

    DATA are extended XYZ files (plain, .gz, .xz, .bz2), ASE databases, outputs of VASP and other programs, folders, or
    globs in quotes. A report of the same model, data and settings is kept.
    """
    from ase_wavescat.evaluation.report import summary
    from ase_wavescat.evaluation.run import FIGURES, PAGE, run_report
    from ase_wavescat.io.structures import files_of
    from ase_wavescat.potentials.file.model_file import load_model

    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files_of(list(data))]
    settings = {"workflow": "evaluate", "group_key": group_key, "virial": virial, "virial_sign": virial_sign,
                "calibrate": calibrate}  # fmt: skip
    inputs = {**inputs_record([], load_model(model), settings), "data": digests}
    if (earlier := kept(output / FIGURES, inputs, overwrite)) is not None:
        click.echo(f"{summary(earlier)}\nreport: kept, it is in {output / PAGE} already")
        return
    report = run_report(
        model, list(data), output, group_key=group_key, virial=virial_of(virial, virial_sign), workers=workers,
        calibrate=calibrate, extra={INPUTS: inputs}, progress=not quiet,
    )  # fmt: skip
    trained = [file.name for file in report.assessment.files if file.trained_on]
    if trained:
        click.echo(f"warning: the model was trained on {', '.join(trained)}: these are training errors", err=True)
    click.echo(summary(report.figures()))
    if calibrate:
        click.echo(f"the scales that these data ask for are now in {model}")
    click.echo(f"report: {output / PAGE}")


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option(
    "-o", "--output", default="combined.h5", show_default=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Write the model to this file.",
)  # fmt: skip
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=float,
    show_default="equal ones",
    help="Take each model with this weight; once for each.",
)
@overwrite_option()
def combine(models: tuple[str, ...], output: Path, weights: tuple[float, ...], overwrite: bool) -> None:
    """Make one model of several.

    It gives their weighted mean, with the spread over all their members. MODELS are paths or names, of the same species
    and the same labels. What the spread means is found by `wavescat evaluate --calibrate` and labels that none of them
    has learned.
    """
    from ase_wavescat.potentials.file.model_file import load_model, save_model
    from ase_wavescat.training.checks import REPLACE
    from ase_wavescat.training.combining import combine as combined

    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} is there; {REPLACE}")
    save_model(output, combined([load_model(model) for model in models], weights))
    click.echo(f"model: {output}; its spread is not calibrated")
