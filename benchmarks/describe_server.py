"""What does the client cost when a server describes, and does its memory stay flat?

    python benchmarks/describe_server.py [--requests 15000] [--repeats 3] [--memory 100000]

A server on loopback, in a process of its own, answers every request after a fixed 200 ms. With 256 requests at once no
client can get more than 1280 answers a second from it. Compared, with the same image files (noise, JPEG, about 60 kB):

- bare: an asyncio loop with aiohttp as one writes it: as many workers as requests at once, each reads the file, encodes
  it in base64, posts it with `json=` and reads the JSON of the answer; it keeps nothing
- sdk: the same loop with the openai SDK over its aiohttp transport (`openai[aiohttp]`)
- describe: `sightwords.describe`, from the listing of the folder to the committed description set

A repeat runs all of them one after the other, in turned order, so that a machine that slows down slows all of them.
*Steady* leaves out the first fifth of the answers (listing the images, starting with few requests at once) and the
last twentieth (the last requests at once); *whole* is from start to end. The ratio is that of a repeat. On a machine
that others use too, the processor time of this process for a request is the figure that is least disturbed.

`--memory` describes that many times in a process of its own and shows its resident memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "noise-describer"
QUESTION = "Describe this image in detail."
FIRST_STEADY, LAST_STEADY = 0.2, 0.95  # shares of the answers


@dataclass(frozen=True)
class Timing:
    """One client's run.

    Attributes:
        steady: answers a second, start and end left out.
        whole: answers a second, from start to end.
        cpu_us: processor time of this process for a request, in microseconds.
    """

    steady: float
    whole: float
    cpu_us: float


# the server


class FixedTimeServer(asyncio.Protocol):
    """Reads a request to its end, without looking at it, and answers after a fixed time; no longer than it must be."""

    num_requests = 0
    wait_s = 0.2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.head = b""
        self.num_missing = 0  # bytes of the body that are still to come

    def data_received(self, data: bytes) -> None:
        if self.num_missing:
            self.num_missing -= len(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self.head[:end].lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            self.num_missing = length - (len(self.head) - end - 4)
            self.is_chat, self.head = lines[0].startswith(b"post"), b""
        if self.num_missing <= 0:
            self.num_missing = 0
            self.loop.call_later(self.wait_s if self.is_chat else 0, self.answer, self.is_chat)

    def answer(self, is_chat: bool) -> None:
        FixedTimeServer.num_requests += is_chat
        # no two texts are the same: what many images share would be rejected
        text = f"Colored noise with a fine grain all over, the image number {self.num_requests} of this kind."
        answer = {"num_requests": self.num_requests, "data": [{"id": MODEL}]}
        if is_chat:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 300, "completion_tokens": 24, "total_tokens": 324}
            answer = {"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(wait_s: float) -> None:
    """Serve until killed; the port is printed."""
    FixedTimeServer.wait_s = wait_s
    server = await asyncio.get_running_loop().create_server(FixedTimeServer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running_server(wait_s: float) -> Iterator[str]:
    """Yield the URL of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(wait_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


# the clients


def bare(files: list[Path], url: str, num_requests: int, concurrency: int) -> Timing:
    """Time aiohttp in an asyncio loop with nothing around it."""
    return asyncio.run(bare_loop(files, url, num_requests, concurrency))


async def bare_loop(files: list[Path], url: str, num_requests: int, concurrency: int) -> Timing:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(body: dict[str, Any]) -> str:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                return str((await response.json())["choices"][0]["message"]["content"])

        return await loop(ask, files, num_requests, concurrency)


def sdk(files: list[Path], url: str, num_requests: int, concurrency: int) -> Timing:
    """Time the openai SDK in an asyncio loop with nothing around it."""
    return asyncio.run(sdk_loop(files, url, num_requests, concurrency))


async def sdk_loop(files: list[Path], url: str, num_requests: int, concurrency: int) -> Timing:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=DefaultAioHttpClient()) as client:

        async def ask(body: dict[str, Any]) -> str:
            return str((await client.chat.completions.create(**body)).choices[0].message.content)

        return await loop(ask, files, num_requests, concurrency)


async def loop(
    ask: Callable[[dict[str, Any]], Awaitable[str]], files: list[Path], num_requests: int, concurrency: int
) -> Timing:
    """Time so many workers that ask about one file after the other."""
    waiting = itertools.islice(itertools.cycle(files), num_requests)
    ends_s: list[float] = []

    async def work() -> None:
        for file in waiting:
            assert await ask(request_body(base64.b64encode(file.read_bytes()).decode("ascii")))
            ends_s.append(time.time())

    start_s, start_cpu_s = time.time(), time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return timing(start_s, ends_s, time.time() - start_s, time.process_time() - start_cpu_s)


def request_body(image: str) -> dict[str, Any]:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}},
        {"type": "text", "text": QUESTION},
    ]
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": content}]}


def describe(folder: Path, url: str, num_samples: int, concurrency: int) -> Timing:
    """Time `sightwords.describe`; when answers arrived is read from the set that it wrote."""
    import sightwords
    from sightwords.descriptions.store import DescriptionSet

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "d.db"
        start_s, start_cpu_s = time.time(), time.process_time()
        result = sightwords.describe(sightwords.DescribeConfig(
            str(folder), out=out, describer=f"server:{MODEL}@{url}", samples=num_samples, concurrency=concurrency,
        ))  # fmt: skip
        seconds, cpu_s = time.time() - start_s, time.process_time() - start_cpu_s
        with DescriptionSet(out) as descriptions:
            ends_s = sorted(row.created_at for row in descriptions.descriptions("ok"))
    assert result.num_ok == len(ends_s) > 0, result
    return timing(start_s, ends_s, seconds, cpu_s)


def timing(start_s: float, ends_s: list[float], seconds: float, cpu_s: float) -> Timing:
    """Return the rates of a run whose answers arrived at these times, in order."""
    first, last = int(FIRST_STEADY * len(ends_s)), int(LAST_STEADY * len(ends_s))
    steady = (last - first) / (ends_s[last] - ends_s[first])
    return Timing(steady, len(ends_s) / seconds, cpu_s / len(ends_s) * 1e6)


# what is shown


def compare(options: argparse.Namespace, folder: Path, url: str) -> dict[str, list[Timing]]:
    """Time all clients several times, and print a table."""
    files = sorted(folder.rglob("*.jpg"))
    num_samples = max(1, options.requests // len(files))
    num, width = num_samples * len(files), options.concurrency
    clients: dict[str, Callable[[], Timing]] = {
        "bare": lambda: bare(files, url, num, width),
        "sdk": lambda: sdk(files, url, num, width),
        "describe": lambda: describe(folder, url, num_samples, width),
    }
    found: dict[str, list[Timing]] = {name: [] for name in clients}
    for repeat in range(options.repeats):
        for name in [*clients][:: 1 if repeat % 2 == 0 else -1]:
            found[name].append(clients[name]())
            print(f"repeat {repeat + 1}: {name:8} {found[name][-1].steady:6.0f} answers/s steady", flush=True)
    print(f"\n{num} requests, {width} at once; at best {width / options.wait_s:.0f} answers/s; medians:")
    print(f"{'':10}{'steady/s':>10}{'whole/s':>10}{'CPU us':>10}")
    for name, runs in found.items():
        steady, whole, cpu = (
            statistics.median(getattr(run, part) for run in runs) for part in ("steady", "whole", "cpu_us")
        )
        print(f"{name:10}{steady:10.0f}{whole:10.0f}{cpu:10.0f}")
    for name in ("bare", "sdk"):
        pairs = [(ours.steady / theirs.steady, ours.whole / theirs.whole)
                 for ours, theirs in zip(found["describe"], found[name], strict=True)]  # fmt: skip
        steady, whole = (statistics.median(ratios) for ratios in zip(*pairs, strict=True))
        print(f"describe / {name}: {steady:.2f} steady, {whole:.2f} whole")
    return found


def show_memory(options: argparse.Namespace, folder: Path, url: str) -> list[tuple[int, float]]:
    """Describe in a process of its own; print and return its resident memory in MiB on the way."""
    num_samples = max(1, options.memory // len(list(folder.rglob("*.jpg"))))
    begin = count(url)
    samples: list[tuple[int, float]] = []
    command = [sys.executable, __file__, "--describe", str(folder), "--url", url, "--samples", str(num_samples)]
    command += ["--concurrency", str(options.concurrency)]
    total = num_samples * len(list(folder.rglob("*.jpg")))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            sample = (count(url) - begin, resident_mib(process.pid))
            if 0 < sample[0] < total:  # not while it starts or ends
                samples.append(sample)
            time.sleep(0.05)
    assert process.returncode == 0
    shares = (0.02, 0.1, 0.25, 0.5, 0.75, 0.98)
    shown = [next((s for s in samples if s[0] >= share * total), samples[-1]) for share in shares]
    print(f"\nmemory over {total} requests:\n{'requests':>10}{'MiB':>8}")
    for num_requests, mib in shown:
        print(f"{num_requests:10}{mib:8.0f}")
    (first, early), (last, late) = shown[1], shown[-1]
    print(f"growth from {first} to {last} requests: {late - early:+.0f} MiB ({late / early - 1:+.1%})")
    return shown


def count(url: str) -> int:
    with urllib.request.urlopen(f"{url}/models") as answer:
        return int(json.load(answer)["num_requests"])


def resident_mib(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_images(folder: Path, num_images: int, num_bytes: int) -> None:
    """Write noise as JPEG files of about so many bytes; each is another."""
    import numpy as np
    from PIL import Image

    side = 248 * (num_bytes / 60_000) ** 0.5
    pixels = np.random.default_rng(0).integers(0, 256, (int(side), int(side), 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    data = buffer.getvalue()
    (folder / "train" / "noise").mkdir(parents=True)
    for i in range(num_images):  # the comment makes another file of it, and takes no time to draw
        comment = f"number {i:8}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / "train" / "noise" / f"{i:06}.jpg").write_bytes(data[:2] + segment + data[2:])
    print(f"{num_images} images of {len(data) + len(segment):,} bytes")


def main(arguments: list[str] | None = None) -> None:
    """Run what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="different images")
    parser.add_argument("--requests", type=int, default=15000, help="requests of one run")
    parser.add_argument("--repeats", type=int, default=3, help="0 measures memory alone")
    parser.add_argument("--memory", type=int, default=0, help="requests of the run whose memory is shown")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--wait-s", type=float, default=0.2, help="time that the server takes")
    parser.add_argument("--num-bytes", type=int, default=60_000, help="size of an image file")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--describe", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    if options.describe is not None:
        describe(options.describe, options.url, options.samples, options.concurrency)
        return
    with tempfile.TemporaryDirectory() as scratch, running_server(options.wait_s) as url:
        write_images(Path(scratch), options.images, options.num_bytes)
        if options.repeats:
            compare(options, Path(scratch), url)
        if options.memory:
            show_memory(options, Path(scratch), url)


if __name__ == "__main__":
    main()
