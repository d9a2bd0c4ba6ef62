"""LitServe: `python litserve_app.py PORT`."""

import sys

import litserve
import numpy as np
from model import SIZE, WAIT, predict


class Small(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return np.array(request["input"], dtype="float32")

    def predict(self, x):
        return predict(x)

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Small(max_batch_size=SIZE, batch_timeout=WAIT), accelerator="cpu", workers_per_device=1, timeout=60
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
