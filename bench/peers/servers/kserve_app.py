"""KServe's Python server: `python kserve_app.py HTTP_PORT GRPC_PORT`."""

import sys

import kserve
from kserve.protocol.infer_type import InferOutput, InferResponse
from model import predict


class Small(kserve.Model):
    def __init__(self):
        super().__init__("m")
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        result = predict(payload.inputs[0].as_numpy())
        output = InferOutput("y", list(result.shape), "FP32")
        output.set_data_from_numpy(result, binary_data=False)
        return InferResponse(response_id=payload.id, model_name="m", infer_outputs=[output])


if __name__ == "__main__":
    kserve.ModelServer(
        http_port=int(sys.argv[1]),
        grpc_port=int(sys.argv[2]),
        workers=1,
        access_log_format=None,
        enable_docs_url=False,
    ).start([Small()])
