"""Every public path on a device that is not the CPU's: no mix-up, the CPU's values, and few waits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from device_cases import CASES, Models, assert_alike, features_of, on_host, writing
from far_device import FAR, far_device, touched
from far_modules import BY_PATHS
from whisper_helpers import END

from asr.decoding.generation import generate
from asr.decoding.generation_beam import generate_beam

gone_through: set[str] = set()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, corpus: Any) -> Models:
    return Models(tmp_path_factory.mktemp("models"), corpus)


@pytest.mark.parametrize("name", CASES)
def test_a_path_gives_there_what_it_gives_here(name: str, models: Models) -> None:
    gone_through.add(name)
    here = on_host(CASES[name](models, torch.device("cpu")))
    with far_device() as waits:
        there = on_host(CASES[name](models, FAR))
    waits = [one for one in waits if "model_folder" not in one]
    print(f"{name}: {Counter(waits).most_common()}")
    assert_alike(here, there, relative=1e-4, absolute=1e-5)


def test_a_token_costs_one_wait(models: Models) -> None:
    """For each of a batch that writes; greedy, and in a beam."""
    with far_device() as waits:
        model, network = writing(models, FAR)
        network.decoder.embed_tokens.weight[END] = 0.0  # so that no text ends before the limit
        for size in (1, 4):
            before = []
            for tokens in (4, 12):
                waits.clear()
                if size == 1:
                    generate(network, *features_of(model), tokens)
                else:
                    generate_beam(network, *features_of(model), size, tokens)
                before.append(len(waits))
            print(f"beam {size}: {before} waits of texts of 4 and of 12 tokens")
            assert before[1] - before[0] == 12 - 4


def test_these_modules_were_gone_through() -> None:
    if gone_through != set(CASES):
        pytest.skip("not all cases were run")
    assert set(BY_PATHS) - touched == set()
