#!/usr/bin/env bash
# torch 2.13.0 (CPU): the memory format of a feature map whose channels are viewed as group × field.
#
# Group-equivariant networks see the channels of a feature map as two axes, [N, G, F, H, W], which unflatten gives as a
# view. torch says that operators keep the memory format of their input, and in four dimensions nearly all do: after cat
# and roll over the channels a channels-last map is channels-last. So one expects the same of the view, whose strides are
# still those of channels-last memory; add, relu and flip do keep them.
# cat and roll over the group axis give a tensor in the plain order of its axes instead, without a warning: flattened back
# to four dimensions it is channels-first. amax and mean over the group axis, the pooling at the end of such networks,
# do so, too. index_select over the channels loses the format even in four dimensions.
# It matters for everyone who permutes or pools a group axis in a channels-last network: the values are right, but each
# such step copies the map into the other order. Ask for .contiguous(memory_format=torch.channels_last) afterwards.
# Output seen: "channels, 4 axes: kept by add, relu, flip, roll, cat; lost by index_select",
# "group, 5 axes: kept by add, relu, flip; lost by roll, cat, index_select, amax, mean".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch

GROUP, FIELDS = 4, 6
image = torch.randn(2, GROUP * FIELDS, 8, 8).contiguous(memory_format=torch.channels_last)
both = {
    "add": lambda x: x + x,
    "relu": torch.relu,
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, 1),
    "cat": lambda x: torch.cat([x, x], 1),
    "index_select": lambda x: x.index_select(1, torch.arange(x.shape[1])),
}
pooled = {"amax": lambda x: x.amax(1), "mean": lambda x: x.mean(1)}


def split(operators, x):
    """The names of operators that keep the format, and of those that lose it."""
    results = {name: apply(x) for name, apply in operators.items()}
    maps = {name: result.flatten(1, 2) if result.ndim == 5 else result for name, result in results.items()}
    last = {name: each.is_contiguous(memory_format=torch.channels_last) for name, each in maps.items()}
    return [name for name in last if last[name]], [name for name in last if not last[name]]


fields = image.unflatten(1, (GROUP, FIELDS))
seen = {"channels, 4 axes": split(both, image), "group, 5 axes": split(both | pooled, fields)}
for what, (kept, lost) in seen.items():
    print(f"{what}: kept by {', '.join(kept)}; lost by {', '.join(lost)}")
assert seen["channels, 4 axes"] == (["add", "relu", "flip", "roll", "cat"], ["index_select"]), "torch has changed"
assert seen["group, 5 axes"] == (
    ["add", "relu", "flip"],
    ["roll", "cat", "index_select", "amax", "mean"],
), "torch has changed"
PYTHON
