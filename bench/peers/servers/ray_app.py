"""Ray Serve: `python ray_app.py PORT`, one replica behind its proxy."""

import logging
import signal
import sys

import numpy as np
import ray
from model import BATCHED, SIZE, WAIT, answer, predict, rows_of
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, logging_config={"enable_access_log": False})
class Small:
    async def __call__(self, request):
        rows = rows_of(await request.json())
        return answer(await self.batch(rows) if BATCHED else predict(rows))

    @serve.batch(max_batch_size=SIZE, batch_wait_timeout_s=WAIT)
    async def batch(self, rows):
        # On the loop of the replica, as its guide has it: nothing else is to be done meanwhile.
        return list(predict(np.concatenate(rows))[:, None])


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.WARNING)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    serve.run(Small.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
