#!/usr/bin/env bash
# What a GPU adds to the proof in at most nine minutes: long trainings of larger networks first.
#
#   benchmarks/proof/gpu.sh DATA OUT [--smoke]
#
# DATA holds the folders garments and imagenette as benchmarks/proof/shrink.py made them, and names.csv, the names of the
# garments' classes. Each comparison is a command of its own, the most telling first, and goes on where it stopped; when
# the time is up the rest is left out. OUT/tables.txt has the tables of all that finished. --smoke does the same on the
# processor with one epoch of tiny networks.
set -u
data=$1 out=$2 smoke=${3:-}
python=${PYTHON:-python}
minutes=${MINUTES:-9}
until=$(($(date +%s) + 60 * minutes))
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

device=cuda precision=bf16 parallel=4 workers=3 size=96 batch=128
long=200 short=60 networks="resnet18 resnet50 vit_small_patch16_224" seeds=1
if [ "$smoke" = --smoke ]; then
    device=cpu precision=fp32 parallel=1 workers=0 size=32 batch=8 long=1 short=1 networks="test_resnet"
fi

left() { echo $((until - $(date +%s))); }
sightwords() { timeout --signal INT --kill-after 20 "$(left)" "$python" -m sightwords "$@"; }

for set in imagenette garments; do
    sightwords import "$data/$set/descriptions.csv" --images "$data/$set" --out "$out/$set.db" >"$out/$set.log" 2>&1
    sightwords embed "$out/$set.db" --encoder builtin:minilm --out "$out/$set" >>"$out/$set.log" 2>&1
    names=()
    [ "$set" = garments ] && names=(--classes "$data/names.csv")
    sightwords label "$data/$set" --embeddings "$out/$set" "${names[@]}" --ignore-labels --out "$out/$set.csv" \
        >>"$out/$set.log" 2>&1
    echo "labels: $(cd "$out" && pwd)/$set.csv" >"$out/$set-no-labels.yaml"
done

# name, set, epochs, arms, further options
compare() {
    local name=$1 set=$2 epochs=$3 arms=$4
    shift 4
    [ "$(left)" -gt 20 ] || return 0
    # shellcheck disable=SC2086
    sightwords compare "$data/$set" --embeddings "$out/$set" --out "$out/$name" --models $networks --arms $arms \
        --seeds $seeds --epochs "$epochs" --image-size $size --batch-size $batch --parallel $parallel \
        --workers $workers --device $device --precision $precision --cache-gb 4 "$@" >"$out/$name.log" 2>&1
    { echo "## $name: $set, $epochs epochs, $size px, $arms $*"; tail -40 "$out/$name.log"; echo; } >>"$out/tables.txt"
}

: >"$out/tables.txt"
compare clean-long imagenette $long "baseline aligned"
compare half-wrong garments $short "baseline $here/corrected.yaml" --no-clean --label-noise 0.5
compare no-labels imagenette $short "baseline $out/imagenette-no-labels.yaml"
compare no-labels-garments garments $short "baseline $out/garments-no-labels.yaml"
compare clean-garments garments $long "baseline aligned"
compare tenth garments $short "baseline $here/corrected.yaml" --no-clean --label-fraction 0.1
cat "$out/tables.txt"
