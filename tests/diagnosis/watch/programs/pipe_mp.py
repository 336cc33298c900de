# expect: PIPE_DEADLOCK
# names: join
import asyncio
import multiprocessing as mp


def produce(q):
    q.put("x" * 1_000_000)


def run():
    q = mp.Queue()
    p = mp.Process(target=produce, args=(q,))
    p.start()
    p.join()  # here
    return q.get()


async def main():
    await asyncio.to_thread(run)


if __name__ == "__main__":
    asyncio.run(main())
