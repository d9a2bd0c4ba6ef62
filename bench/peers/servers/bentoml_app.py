"""BentoML: `bentoml serve bentoml_app:Small`."""

import bentoml
import numpy as np
from model import BATCHED, SIZE, predict


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Small:
    @bentoml.api(batchable=BATCHED, **({"max_batch_size": SIZE, "max_latency_ms": 1000} if BATCHED else {}))
    def predict(self, x: np.ndarray) -> np.ndarray:
        return predict(x.astype("float32"))
