# expect: OK
# The futures of thousands of requests that a library in C keeps, all of them at once: each may yet be resolved.
import asyncio
import ctypes

REQUESTS = 2_500


async def fetch():
    answer = asyncio.get_running_loop().create_future()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(answer))
    await answer


async def main():
    await asyncio.gather(*[fetch() for _ in range(REQUESTS)])


if __name__ == "__main__":
    asyncio.run(main())
