#!/usr/bin/env bash
# Every table and picture that depends on the shipped models, after these were trained anew; from the top folder:
#
#     bash benchmarks/renew.sh FOLDER [NAME ...]
#
# FOLDER keeps what a stopped run goes on from; models trained anew need a new one. NAME: only these of the scripts.
# PEERS is a Python with ASE, chgnet and sevenn, as docs/measurements/accuracy.md says; LISI_ANN the model that benchmarks/lisi_ann.py
# trains on labels of the neural network (default: FOLDER/lisi-ann.h5). Times are one core's.
set -eu
folder=$1
shift
mkdir -p "$folder"
export OMP_NUM_THREADS=1

renew() { # name of the script, its own options
    local name=$1
    shift
    if [[ -z $wanted || " $wanted " == *" $name "* ]]; then
        echo "== $name"
        python "benchmarks/$name.py" "$@" --json "benchmarks/$name.json"
    fi
}

wanted="$*"
pictures=docs/pictures
# Seconds to a few minutes each
renew data_card --document models/lisi-dft/README.md
renew k_points --document models/lisi-dft/README.md
renew transform --document README.md docs/measurements/numerics.md
renew invariance --document docs/measurements/numerics.md
renew boundaries --document docs/measurements/numerics.md
renew scaling --document docs/measurements/numerics.md
renew domain --document docs/measurements/domain.md
renew dft_extrapolations --models lisi.h5 lisi-fast.h5 --document docs/measurements/extrapolation.md \
    --picture $pictures/extrapolation.png
renew workflow_numerics --document docs/measurements/workflows.md
renew relaxed_ions --document docs/measurements/workflows.md
renew tiling --document docs/measurements/workflows.md
renew crystals --document docs/measurements/workflows.md --picture $pictures/crystals.png
# Ten minutes to an hour each
renew conformance --document docs/measurements/conformance.md
renew peers --models lisi.h5 lisi-fast.h5 --python "${PEERS:-python}" --keep "$folder/peers" \
    --document docs/measurements/accuracy.md --summary README.md --picture $pictures/peers.png
renew dynamics "$folder/dynamics" --timed lisi-fast.h5 lisi.h5 --document docs/measurements/dynamics.md --pictures $pictures
renew voltage --relaxed "$folder/voltage" --document docs/measurements/voltage.md --picture $pictures/voltage.png
renew barriers --model lisi.h5=lisi.h5 --model "lisi-ann=${LISI_ANN:-$folder/lisi-ann.h5}" --steps 200 \
    --reference ../shared/reference --document docs/measurements/barriers.md --picture $pictures/barriers.png
renew optimizers --document docs/measurements/workflows.md
renew screening --count 16 --repeats 1 --document docs/measurements/screening.md
renew rounds --starts 5 --store "$folder/rounds" --document docs/measurements/active_learning.md --picture $pictures/rounds.png
