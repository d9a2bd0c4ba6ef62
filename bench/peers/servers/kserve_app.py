"""KServe's Python server: `python kserve_app.py HTTP_PORT GRPC_PORT`."""

import sys

import kserve
import uvicorn
from grpc import aio
from kserve.protocol.infer_type import InferOutput, InferResponse
from kserve.utils.utils import generate_uuid
from model import predict


class Small(kserve.Model):
    def __init__(self):
        super().__init__("m")
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        result = predict(payload.inputs[0].as_numpy())
        output = InferOutput("y", list(result.shape), "FP32")
        output.set_data_from_numpy(result, binary_data=False)
        return InferResponse(response_id=payload.id or generate_uuid(), model_name="m", infer_outputs=[output])


def on_loopback():
    """Have it listen on 127.0.0.1 only, for which it has no option."""
    configure, listen = uvicorn.Config, aio.Server.add_insecure_port
    uvicorn.Config = lambda app, host, **more: configure(app, host=host.replace("0.0.0.0", "127.0.0.1"), **more)
    aio.Server.add_insecure_port = lambda server, at: listen(server, at.replace("[::]", "127.0.0.1"))


if __name__ == "__main__":
    on_loopback()
    kserve.ModelServer(
        http_port=int(sys.argv[1]),
        grpc_port=int(sys.argv[2]),
        workers=1,
        access_log_format=None,
        enable_docs_url=False,
    ).start([Small()])
