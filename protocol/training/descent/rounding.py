"""What a recipe's precision does: rounds the operands of matrix products and convolutions.

Every device rounds them the same way, before the product and not inside it: on CUDA the tensor
cores then multiply operands that are exact in TF32 already, and a CPU, which has no such unit,
gives the same numbers but for the order of additions. Sums and everything else are float32. A
backward pass multiplies the gradient of the product, rounded, with the operands as rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from protocol.recipes import Precision

_DROPPED_BITS = 13  # of float32's 23 after the leading one, TF32 keeps 10

_PRODUCTS = {
    functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, functional.conv_transpose1d,
    functional.conv_transpose2d, functional.conv_transpose3d, torch.matmul, torch.mm, torch.bmm, torch.mv,
    torch.tensordot, torch.einsum, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm, Tensor.bmm,
    Tensor.mv,
}  # fmt: skip
"""Products of the first two tensors among their arguments, a third being what is added."""

_MULTIPLIES = re.compile(
    r".*(mm|mv|dot|matmul|linear|einsum|convolution.*|conv\d.*|attention.*|transformer.*|trilinear|cdist.*|"
    r"euclidean_dist|rnn_.*|lstm_.*|gru_.*)|_?(linalg_(?!vector_norm|cross)|cholesky|triangular_solve|lu_).*"
)
"""What torch's own operations are called that multiply matrices, or may."""


def rounded(x: Float32[Tensor, "*shape"], precision: Precision) -> Float32[Tensor, "*shape"]:
    """Return ``x`` rounded to the precision, half to even; ``x`` itself at fp32."""
    if precision is Precision.FP32:
        return x
    if precision is Precision.BF16:
        return x.to(torch.bfloat16).to(torch.float32)
    bits = x.view(torch.int32)
    odd = (bits >> _DROPPED_BITS) & 1
    halfway = (1 << (_DROPPED_BITS - 1)) - 1
    finite = ((bits + (odd + halfway)) & -(1 << _DROPPED_BITS)).view(torch.float32)
    return torch.where(torch.isfinite(x), finite, x)


def _rounds(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether a call is a product whose operands are known: two tensors given by their place, in einsum no third."""
    n_tensors = sum(isinstance(argument, Tensor) for argument in args)
    return function in _PRODUCTS and (n_tensors == 2 if function is torch.einsum else n_tensors >= 2)


class Rounding(TorchFunctionMode):
    """While entered, products of layers are of rounded operands, forwards and backwards.

    Seen are torch's own product functions, which its layers call, but not within a function of torch's
    that calls others of them, such as attention's. Where those are, is what :func:`unrounded` says.
    """

    def __init__(self, precision: Precision) -> None:
        super().__init__()
        self._precision = precision

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Round the first two tensors among the arguments of a product; leave all else."""
        if self._precision is Precision.FP32 or not _rounds(function, args):
            return function(*args, **(kwargs or {}))
        left, rest = 2, []
        for argument in args:
            is_operand = left > 0 and isinstance(argument, Tensor)
            rest.append(_round_operand(argument, self._precision) if is_operand else argument)
            left -= is_operand
        return _round_gradient(function(*rest, **(kwargs or {})), self._precision)


def unrounded(run: Callable[[], object]) -> list[str]:
    """Return the functions of torch's in which ``run`` multiplies matrices that :class:`Rounding` does not see.

    Looked at forwards: what a backward pass of the user's own (``torch.autograd.Function``) multiplies is not seen.
    """
    functions = _Functions()
    with _Operations(functions), functions:
        run()
    return sorted(functions.missed)


class _Functions(TorchFunctionMode):
    """Knows which function of torch's is called, and in which of them a product was missed."""

    def __init__(self) -> None:
        super().__init__()
        self.missed: set[str] = set()
        self._name, self._rounds = "a function of torch's", False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call it, and keep its name meanwhile."""
        before = self._name, self._rounds
        self._name, self._rounds = getattr(function, "__name__", str(function)), _rounds(function, args)
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self._name, self._rounds = before

    def multiplied(self) -> None:
        """Say that a product is made."""
        if not self._rounds:
            self.missed.add(self._name)


class _Operations(TorchDispatchMode):
    """Sees every operation that a function of torch's comes to."""

    def __init__(self, functions: _Functions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._functions = functions

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Tell ``functions`` of a product."""
        if _MULTIPLIES.fullmatch(function.overloadpacket.__name__):
            self._functions.multiplied()
        return function(*args, **(kwargs or {}))


class _RoundOperand(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, precision: Precision) -> Tensor:
        return rounded(x, precision) if precision is not Precision.FP32 else x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _RoundGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, precision: Precision) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.precision = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return rounded(gradient.contiguous(), ctx.precision), None


_round_operand: Callable[[Tensor, Precision], Tensor] = _RoundOperand.apply
_round_gradient: Callable[[Tensor, Precision], Tensor] = _RoundGradient.apply


@contextmanager
def tensor_cores(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let CUDA multiply in TF32 where operands are rounded to it or further, and nowhere else."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision is not Precision.FP32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
