"""From an error to a failed gRPC call: the one place where a server says no.

The catalogue is ``protocol.wire.errors``'; what went wrong inside us is logged here and never told to the caller.
"""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc

from protocol.errors import AttributionProofsError, BudgetError, InternalError, PeerError
from protocol.wire.errors import ERROR_KEY, detail_of, message_of, status_of

logger = logging.getLogger(__name__)


class Stopping(Exception):
    """The server is about to stop: whoever called may call again, here, when it is back."""


def fail(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End the call with the status, and the detail in trailing metadata, that ``error`` has in the catalogue."""
    match error:
        case Stopping():
            _abort(context, "UNAVAILABLE", "the prover is stopping; try again in a while")
        case PeerError() | BudgetError():
            logger.info("%s: refused: %s", context.peer(), error)
            _abort_with(context, error)
        case AttributionProofsError():
            logger.error("%s", error)
            _abort_with(context, error)
        case _:
            logger.error("a call failed", exc_info=error)
            unforeseen = InternalError("unforeseen")
            context.set_trailing_metadata(((ERROR_KEY, detail_of(unforeseen)),))
            _abort(context, "INTERNAL", message_of(unforeseen))


def _abort_with(context: grpc.ServicerContext, error: AttributionProofsError) -> NoReturn:
    context.set_trailing_metadata(((ERROR_KEY, detail_of(error)),))
    _abort(context, status_of(error), message_of(error))


def _abort(context: grpc.ServicerContext, status: str, text: str) -> NoReturn:
    context.abort(getattr(grpc.StatusCode, status), text)
    raise InternalError("gRPC went on after an abort")
