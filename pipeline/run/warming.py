"""Weights are loaded on a cluster while its driver still lists and plans the source."""

from collections.abc import Mapping

from pipeline.cluster.pools import SHARDS_PER_WAVE, size_pools
from pipeline.cluster.session import capacity, on_cluster
from pipeline.run.operators import warm_up
from pipeline.run.options import Resources, absolute_place
from pipeline.run.wave import actor_resources, gpu_share


def warm_up_cluster(
    resources: Resources, model: str, device: str, digests: Mapping[str, str]
) -> None:
    """Bring the weights to the machines on which the first actors will start, and wait for nothing.

    A machine that the cluster has yet to start comes up meanwhile. Without a cluster: does nothing.
    """
    if not on_cluster():
        return
    import ray

    gpus = gpu_share(resources, device)
    first = size_pools(capacity(), SHARDS_PER_WAVE[1], 0, gpus, resources.actors).initial_actors
    warm = ray.remote(scheduling_strategy="SPREAD", max_retries=0, **actor_resources(gpus))(warm_up)
    for _ in range(first):
        warm.remote(absolute_place(resources.weights), model, digests)
