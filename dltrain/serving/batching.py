"""One thread that runs the model: on the inputs of several requests at once, where they arrive together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


class Overloaded(Exception):
    """Too many requests are waiting already."""


@dataclass
class Job:
    """What a request waits for: the results of its `inputs`, one for each, or of a `call`."""

    inputs: Sequence[Any] = ()
    call: Callable[[], Any] | None = None
    done: Future[Any] = field(default_factory=Future)


class Batcher:
    """Collects the inputs of requests for up to `wait` seconds, at most `size` of them, and computes them together.

    `compute` maps inputs to as many results. No more than `limit` requests wait at a time. Where a batch of several
    requests fails, each one is computed by itself, so a request cannot make another one fail.
    """

    def __init__(
        self, compute: Callable[[list[Any]], Sequence[Any]], *, wait: float = 0.002, size: int = 256, limit: int = 1000
    ) -> None:
        self._compute, self._wait, self._size, self._limit = compute, wait, size, limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()
        self.batches = 0
        """How many times the model was run."""

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return self._jobs.qsize()

    def submit(self, inputs: Sequence[Any]) -> Future[Any]:
        """Compute inputs with those of other requests. Raises Overloaded."""
        return self._put(Job(inputs))

    def run(self, call: Callable[[], Any]) -> Future[Any]:
        """Call a function in the model's thread. Raises Overloaded."""
        return self._put(Job(call=call))

    def close(self) -> None:
        """Finish all jobs, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _put(self, job: Job) -> Future[Any]:
        if self.waiting >= self._limit:
            raise Overloaded
        self._jobs.put(job)
        return job.done

    def _work(self) -> None:
        following: Job | None = None
        while (job := following or self._jobs.get()) is not None:
            following = None
            if job.call is not None:
                _finish(job, job.call)
                continue
            batch, following, last = self._collect(job)
            self._compute_batch(batch)
            if last:
                return

    def _collect(self, first: Job) -> tuple[list[Job], Job | None, bool]:
        """The jobs of a batch, the one after it that does not fit, and whether there are no more."""
        batch, count, deadline = [first], len(first.inputs), time.monotonic() + self._wait
        while count < self._size:
            try:
                job = self._jobs.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
            if job is None:
                return batch, None, True
            if job.call is not None or count + len(job.inputs) > self._size:
                return batch, job, False
            batch.append(job)
            count += len(job.inputs)
        return batch, None, False

    def _compute_batch(self, batch: Sequence[Job]) -> None:
        self.batches += 1
        try:
            results = self._compute([one for job in batch for one in job.inputs])
        except Exception as error:
            if len(batch) == 1:
                batch[0].done.set_exception(error)
                return
            for job in batch:
                self._compute_batch([job])
            return
        start = 0
        for job in batch:
            job.done.set_result(results[start : start + len(job.inputs)])
            start += len(job.inputs)


def _finish(job: Job, call: Callable[[], Any]) -> None:
    try:
        job.done.set_result(call())
    except Exception as error:
        job.done.set_exception(error)
