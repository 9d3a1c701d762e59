"""How many streams a server keeps open, and for how long: of every service, reflection included.

A stream holds a thread until its caller has read it or gone. One too many is refused as busy; one that lasts too long
is cut off, read or not, and its caller resumes where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from protocol.errors import Reason, Refused
from prover.serving.refusals import fail


class StreamLimits:
    """A gRPC server interceptor.

    Parameters
    ----------
    max_open_streams : past it a call is refused as busy.
    max_stream_s : past it :meth:`cut_off` ends a stream.
    """

    def __init__(self, max_open_streams: int, max_stream_s: float) -> None:
        self._max_open_streams, self._max_stream_s = max_open_streams, max_stream_s
        self._lock = threading.Lock()
        self._begun: dict[grpc.ServicerContext, float] = {}

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:  # a method handler, or None for a method that nobody serves
        """Return the method's handler, its streams counted."""
        handler = continuation(details)
        if handler is None or not handler.response_streaming:
            return handler
        if handler.request_streaming:
            make, behave = grpc.stream_stream_rpc_method_handler, handler.stream_stream
        else:
            make, behave = grpc.unary_stream_rpc_method_handler, handler.unary_stream

        def counted(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._open(context):
                yield from behave(request, context)

        return make(counted, handler.request_deserializer, handler.response_serializer)

    def cut_off(self) -> None:
        """End the streams that have lasted too long."""
        now = time.monotonic()
        with self._lock:
            overdue = [context for context, begun in self._begun.items() if now - begun > self._max_stream_s]
        for context in overdue:
            context.cancel()

    @contextmanager
    def _open(self, context: grpc.ServicerContext) -> Iterator[None]:
        with self._lock:
            is_full = len(self._begun) >= self._max_open_streams
            if not is_full:
                self._begun[context] = time.monotonic()
        if is_full:
            limit = self._max_open_streams
            fail(context, Refused(f"expected at most {limit} open streams, got one more; try again", Reason.BUSY))
        try:
            yield
        finally:
            with self._lock:
                del self._begun[context]
