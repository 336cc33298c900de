# expect: OK
# names: -
# line: -
# when: end
# Calls await futures in a table; the server in another thread thinks for a while, and the answers
# come over a socket in another order.
import asyncio
import itertools
import json
import socketserver
import threading
import time


class SlowServer(socketserver.StreamRequestHandler):
    def handle(self):
        calls = [json.loads(self.rfile.readline()) for _ in range(5)]
        for call in reversed(calls):
            time.sleep(4)
            self.wfile.write(json.dumps({"id": call["id"], "result": "done"}).encode() + b"\n")


class Rpc:
    def __init__(self):
        self.pending = {}
        self.numbers = itertools.count()

    async def connect(self, address):
        self.reader, self.writer = await asyncio.open_connection(*address)

    async def listen(self):
        async for line in self.reader:
            reply = json.loads(line)
            self.pending.pop(reply["id"]).set_result(reply["result"])

    async def call(self, method):
        number = next(self.numbers)
        future = self.pending[number] = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({"id": number, "method": method}).encode() + b"\n")
        return await future


async def main():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), SlowServer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="server").start()
    rpc = Rpc()
    await rpc.connect(server.server_address)
    listener = asyncio.create_task(rpc.listen(), name="listener")
    print(await asyncio.gather(*(rpc.call(f"job{n}") for n in range(5))))
    listener.cancel()


if __name__ == "__main__":
    asyncio.run(main())
