# expect: LOOP_BLOCKED
# names: report_status|_send
# line: 37|43
# when: hang
# A timer's callback, and no task, sends a status by a synchronous HTTP client to a server that takes
# the connection and never answers.
import asyncio
import http.client
import socket
import threading


class MuteServer(threading.Thread):
    """Accepts, reads, and says nothing."""

    def __init__(self):
        super().__init__(daemon=True, name="status-server")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.connections = []

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            self.connections.append(connection)


class Status:
    def __init__(self, loop, address):
        self.loop = loop
        self.address = address
        self.sent = 0

    def start(self):
        self.loop.call_later(0.3, self.report_status)

    def report_status(self):
        self._send({"tasks": len(asyncio.all_tasks(self.loop))})
        self.loop.call_later(0.3, self.report_status)

    def _send(self, status):
        client = http.client.HTTPConnection(*self.address)
        client.request("POST", "/status", body=repr(status))
        client.getresponse().read()
        self.sent += 1


class Importer:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.rows = 0

    async def import_rows(self, rows):
        for _ in range(rows):
            async with self.lock:
                await asyncio.sleep(0.01)
                self.rows += 1


async def main():
    server = MuteServer()
    server.start()
    Status(asyncio.get_running_loop(), server.socket.getsockname()).start()
    importer = Importer()
    await asyncio.gather(
        *(asyncio.create_task(importer.import_rows(500), name=f"import-{n}") for n in range(3))
    )
    print(importer.rows)


if __name__ == "__main__":
    asyncio.run(main())
