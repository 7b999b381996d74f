"""What is left of the interface by which applications were registered: it answers, and keeps nothing."""

import uuid

from polysite.server.exchange import Reply
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import bare

_ONBOARDED = "Your application {} has been onboarded with MUSIC."


async def onboard(call: Call) -> Reply:
    """An id for the application, the same whenever it asks. Nothing depends on it: access is by account."""
    body = await call.body()
    name = None if body is None else body.text("appname")
    if body is None or name is None or any(member not in body for member in ("userId", "isAAF", "password")):
        return bare(
            {
                "Exception": "Unauthorized: Please check the request parameters. Some of the required values appname(ns), userId, password, isAAF are missing."
            },
            status=401,
        )
    return bare({"Success": _ONBOARDED.format(name), "Generated AID": _id_of(name)})


async def search(call: Call) -> Reply:
    """The id of the application that is named."""
    body = await call.body()
    name = None if body is None else body.text("appname")
    if body is None or not any(member in body for member in ("appname", "aid", "isAAF")):
        return bare(
            {
                "Exception": "Unauthorized: Please check the request parameters. Enter atleast one of the following parameters: appName(ns), aid, isAAF."
            },
            status=401,
        )
    if name is not None:
        return bare({_id_of(name): "TBD"})
    aid = body.text("aid")
    return bare({} if aid is None else {aid: "TBD"})


def _id_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
