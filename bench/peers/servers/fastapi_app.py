"""FastAPI on uvicorn: the request checked by pydantic, as FastAPI's guide has it."""

from fastapi import FastAPI
from model import answer, predict, rows_of
from pydantic import BaseModel


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(BaseModel):
    inputs: list[Tensor]


app = FastAPI()


@app.post("/v2/models/m/infer")
async def infer(request: Request):
    return answer(predict(rows_of(request.model_dump())))
