"""Base A: an empty Starlette route with a msgspec body, served as polysite is served."""

import sys

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Body(msgspec.Struct):
    columns: dict[str, object]


DECODE = msgspec.json.Decoder(Body).decode
ENCODE = msgspec.json.Encoder().encode


async def empty(request: Request) -> Response:
    body = DECODE(await request.body())
    return Response(ENCODE(body), media_type="application/json")


app = Starlette(routes=[Route("/empty", empty, methods=["PUT"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
