#!/bin/sh
# Trains the default weights from the pretrained trunk:
#
#     sh examples/train_default_weights.sh PHOTOS OUT [option of autochrome train ...]
#
# PHOTOS: color photographs, as `autochrome train` takes them; where it is Parquet, SPLIT_COLUMN in
# the environment names a column with train and val, and GROUP_COLUMN one whose groups are balanced.
# The weights end up in OUT/weights. After an interruption the same command goes on to the same
# bytes. docs/model_card.md tells on what, for how long and with which result it was run.
set -eu
photos=$1 out=$2 split=${SPLIT_COLUMN:+--split-column $SPLIT_COLUMN}
groups=${GROUP_COLUMN:+--balance $GROUP_COLUMN --balance-power 0.5}
shift 2

train() { # stage, folder of the phase, options; those of the user come last and win
    stage=$1 phase=$2
    shift 2
    autochrome train "$stage" "$photos" "$out/$phase" --optimizer muon --half $split $groups "$@"
}

# What things look like, at 16 x 16, where photographs are cheap: the encoder and its parallel head
# on a trunk that stays as ImageNet left it, then all of them.
train core frozen --side 160 --encoder-only --trunk efficientnet_lite2 --trunk-dropout 0.2 \
    --dropout 0.1 --hints --palette --histogram --resolution 16 --hidden 160 --ff 320 --heads 5 \
    --enc 2 --outer 1 --inner 2 --high-resolution 192 --steps 1600 --batch-size 24 \
    --learning-rate 1.5e-3 --warmup 100 --weight-decay 0.05 --average-decay 0.998 --crop 0.55 \
    --degrade 0.2 --bfloat16 "$@"
train core encoder --side 160 --init "$out/frozen" --encoder-only --trunk-rate 0.08 \
    --high-resolution 192 --steps 1800 --batch-size 24 --learning-rate 1.5e-3 --schedule linear \
    --warmup 50 --weight-decay 0.05 --average-decay 0.998 --crop 0.55 --degrade 0.2 --bfloat16 "$@"

# The same at 32 x 32, and then how colors go on: the decoders, while the encoder rests.
train core sharp --side 160 --init "$out/encoder" --resolution 32 --encoder-only --trunk-rate 0.05 \
    --high-resolution 224 --steps 420 --batch-size 16 --learning-rate 8e-4 --schedule linear \
    --warmup 30 --weight-decay 0.05 --average-decay 0.995 --crop 0.65 --degrade 0.15 --bfloat16 "$@"
train core weights --side 160 --init "$out/sharp" --dropout 0 --autoregressive-weight 1 \
    --parallel-weight 0 --encoder-rate 0 --high-resolution 192 --steps 4000 --batch-size 4 \
    --learning-rate 2e-3 --schedule linear --warmup 50 --average-decay 0.998 --crop 0.8 \
    --degrade 0.1 --bfloat16 "$@"

# All eight bits of color, then 256 x 256 pixels of them.
train color weights --resolution 32 --hidden 64 --ff 128 --heads 2 --enc 2 \
    --steps 800 --batch-size 8 --learning-rate 3e-3 --schedule linear "$@"
train spatial small --resolution 64 --low-resolution 32 --hidden 32 --ff 64 --heads 2 --enc 2 \
    --steps 3200 --batch-size 4 --learning-rate 3e-3 --schedule linear "$@"
train spatial weights --init "$out/small" --resolution 256 --low-resolution 32 \
    --steps 300 --batch-size 1 --learning-rate 1e-3 --schedule linear --crop 0.9 "$@"

# The histograms that `autochrome evaluate` compares them with.
autochrome evaluate "$out/weights" "$photos" --split validation $split \
    --baseline "$photos" --save-baseline "$out/weights/baselines.safetensors"
