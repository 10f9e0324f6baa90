#!/usr/bin/env bash
# Every table and picture that depends on the shipped models, after these were trained anew; from the top folder:
#
#     bash benchmarks/renew.sh FOLDER [NAME ...]
#
# FOLDER keeps what a stopped run goes on from; models trained anew need a new one. NAME: only these of the scripts.
# PATHS is the folder of the network's labels and NETWORK that of annpot.py (benchmarks/README.md says what these are):
# what needs one that is not given is left out. PEERS is a Python with ASE, chgnet and sevenn, as docs/measurements/accuracy.md says;
# LISI_ANN the model that benchmarks/accuracy/lisi_ann.py trains (default: FOLDER/lisi-ann.h5). Times are one core's.
set -eu
folder=$1
shift
mkdir -p "$folder"
export OMP_NUM_THREADS=1

renew() { # room and name of the script, its own options
    local script=$1
    shift
    if [[ -z $wanted || " $wanted " == *" ${script#*/} "* ]]; then
        if [[ $* == *not-given/* ]]; then
            echo "== $script is left out: PATHS or NETWORK is not given"
            return
        fi
        echo "== $script"
        python "benchmarks/$script.py" "$@" --json "benchmarks/$script.json"
    fi
}

wanted="$*"
pictures=docs/pictures
paths=${PATHS:-not-given/paths}
network=${NETWORK:-not-given/network}
set_of_labels=models/lisi-dft
# Seconds to a few minutes each
renew accuracy/data_card --document $set_of_labels/README.md
renew accuracy/k_points --document $set_of_labels/README.md
renew speed/transform --reference "$network" --document docs/measurements/numerics.md
renew robustness/invariance --document docs/measurements/numerics.md
renew robustness/boundaries --document docs/measurements/numerics.md
renew speed/presets --document docs/measurements/numerics.md
renew speed/networks --document README.md docs/explanation/network.md
renew speed/scaling --document docs/measurements/numerics.md
renew robustness/domain --document docs/measurements/domain.md
renew robustness/grades --document docs/measurements/domain.md
renew accuracy/uncertainties --document docs/measurements/accuracy.md
renew accuracy/dft_extrapolations --models lisi.h5 lisi-fast.h5 lisi-linear.h5 --document docs/measurements/extrapolation.md \
    --picture $pictures/extrapolation.png
renew robustness/workflow_numerics --document docs/measurements/workflows.md
renew robustness/relaxed_ions "$paths/crystals.extxyz.xz" --document docs/measurements/workflows.md
renew robustness/tiling --reference "$network" --document docs/measurements/workflows.md
renew accuracy/crystals "$paths/crystals.extxyz.xz" --document docs/measurements/workflows.md --picture $pictures/crystals.png
# Ten minutes to an hour each
renew robustness/conformance --document docs/measurements/conformance.md
renew accuracy/peers --models lisi.h5 lisi-fast.h5 lisi-linear.h5 --python "${PEERS:-python}" --network "$network" \
    --keep "$folder/peers" --document docs/measurements/accuracy.md --summary README.md --picture $pictures/peers.png
renew accuracy/dynamics "$folder/dynamics" --timed lisi-fast.h5 lisi.h5 lisi-linear.h5 --sampled \
    "DFT-labelled=$set_of_labels/converged.extxyz.xz,$set_of_labels/cheap.extxyz.xz" \
    "neural network=$paths/md.extxyz.xz" --document docs/measurements/dynamics.md --pictures $pictures
renew robustness/melts --models lisi-fast.h5 --document docs/measurements/dynamics.md
renew accuracy/voltage --relaxed "$folder/voltage" --paths "$paths/paths.extxyz.xz" --document docs/measurements/voltage.md \
    --picture $pictures/voltage.png
renew accuracy/barriers "$paths" --model lisi-linear.h5=lisi-linear.h5 --model "lisi-ann=${LISI_ANN:-$folder/lisi-ann.h5}" \
    --steps 200 --reference "$network" --document docs/measurements/barriers.md --picture $pictures/barriers.png
renew speed/optimizers "$paths" --document docs/measurements/workflows.md
renew speed/screening "$paths" --count 16 --repeats 1 --document docs/measurements/screening.md
renew accuracy/rounds --starts 5 --store "$folder/rounds" --document docs/measurements/active_learning.md \
    --picture $pictures/rounds.png
