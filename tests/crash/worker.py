"""A lane as a process: orders on standard input, answers on standard output, a JSON line each."""

import asyncio
import json
import os
import sys
import time
import traceback

import execute
import schedules
from lane import Lane
from plans import Plan


async def serve():
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints does not spoil the answers
    lane = Lane(*sys.argv[1:4])
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = await do(lane, order)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}", "plan": order.get("plan", order.get("story")), "hits": 0, "kills": 0,
                      "seconds": 0, "problems": [f"the laboratory itself: {type(error).__name__}: {error}"]}
        if answer.get("problems"):
            lane.keep_journal(answer["plan"])
        out.write(json.dumps(answer) + "\n")
        if order["do"] == "down":
            return
    await lane.down()  # whoever gave orders is gone


async def do(lane, order):
    match order["do"]:
        case "up":
            await lane.up()
            return {}
        case "reference":
            return json.loads(json.dumps(await execute.reference(lane, order["story"], order["runs"])))
        case "plan":
            if order.get("until") and time.time() > order["until"]:
                return {"skipped": True}
            return await execute.run(lane, Plan.parse(order["plan"]), order["known"], order.get("settles", execute.SETTLES))
        case "schedule":
            if order.get("until") and time.time() > order["until"]:
                return {"skipped": True}
            return await schedules.of(order["plan"]).run(lane, order["plan"], order.get("known"))
        case "down":
            await lane.down()
            return {}


if __name__ == "__main__":
    asyncio.run(serve())
