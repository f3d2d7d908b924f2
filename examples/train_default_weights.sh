#!/bin/sh
# Trains the default weights from nothing:
#
#     sh examples/train_default_weights.sh PHOTOS OUT [option of autochrome train ...]
#
# PHOTOS: color photographs, as `autochrome train` takes them; SPLIT_COLUMN in the environment names
# a column with train and val, where it is Parquet that has one. The weights end up in OUT/weights.
# After an interruption the same command goes on. docs/model_card.md tells on what, for how long and
# with which result this was run.
set -eu
photos=$1 out=$2 split=${SPLIT_COLUMN:+--split-column $SPLIT_COLUMN}
shift 2

train() { # stage, folder of the phase, options; those of the user come last and win
    stage=$1 phase=$2
    shift 2
    autochrome train "$stage" "$photos" "$out/$phase" --optimizer muon --schedule linear --half \
        $split "$@"
}

# What things look like: the encoder and its parallel head, at 16 x 16, where photographs are cheap.
train core encoder --encoder-only --resolution 16 --hidden 128 --ff 256 --outer 1 --inner 2 \
    --steps 14500 --batch-size 16 --learning-rate 2e-3 --warmup 100 --crop 0.65 --degrade 0.3 "$@"

# How colors go on: the decoders, while the encoder learns slowly.
train core joint --init "$out/encoder" \
    --steps 3500 --batch-size 8 --learning-rate 2e-3 --warmup 60 --average-decay 0.998 \
    --encoder-rate 0.2 --autoregressive-weight 1 --parallel-weight 0.5 \
    --crop 0.65 --degrade 0.3 "$@"

# The same at 32 x 32.
train core weights --init "$out/joint" --resolution 32 \
    --steps 2700 --batch-size 4 --learning-rate 1.5e-3 --warmup 40 --average-decay 0.998 \
    --encoder-rate 0.3 --autoregressive-weight 1 --parallel-weight 0.5 \
    --crop 0.65 --degrade 0.3 "$@"

# All eight bits of color, then 256 x 256 pixels of them.
train color weights --resolution 32 --hidden 64 --ff 128 --heads 2 --enc 2 \
    --steps 800 --batch-size 8 --learning-rate 3e-3 "$@"
train spatial sharp --resolution 64 --low-resolution 32 --hidden 32 --ff 64 --heads 2 --enc 2 \
    --steps 3200 --batch-size 4 --learning-rate 3e-3 "$@"
train spatial weights --init "$out/sharp" --resolution 256 --low-resolution 32 \
    --steps 300 --batch-size 1 --learning-rate 1e-3 --crop 0.9 "$@"

# The histograms that `autochrome evaluate` compares them with.
autochrome evaluate "$out/weights" "$photos" --split validation $split \
    --baseline "$photos" --save-baseline "$out/weights/baselines.safetensors"
